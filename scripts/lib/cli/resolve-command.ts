import manifest from "../../../package.json" with { type: "json" };
import type { ScriptCommand } from "./define-script.ts";
import { usageError } from "./errors.ts";
import { checkArguments, firstOperand } from "./flags.ts";
import type { ScriptError } from "./script-error.ts";
import { didYouMean } from "./suggestion.ts";

/** The command that a command line names. */
export interface ResolvedCommand {
  readonly command: ScriptCommand;
  /** The names from the script to the command: `schema apply`. */
  readonly name: string;
  /** The words that are left for the command. */
  readonly words: readonly string[];
  /** Full names of the commands that an unexpected word may stand for. */
  readonly siblings: readonly string[];
}

/** A command, or a function that loads it. */
type LazyCommand = ScriptCommand | (() => Promise<ScriptCommand>);

/**
 * Follows the names of subcommands.
 *
 * @param root the command of the file that was started
 * @throws {ScriptError} `USAGE` (exit 2) for an unknown command
 */
export async function resolveCommand(root: ScriptCommand, words: readonly string[]): Promise<ResolvedCommand> {
  const { name = manifest.name } = metaOf(root);
  let resolved: ResolvedCommand = { command: root, name, words, siblings: [] };
  for (;;) {
    const subcommands = subcommandsOf(resolved.command);
    if (subcommands === undefined) return resolved;
    const next = await resolveSubcommand(resolved, subcommands);
    if (next === undefined) return resolved;
    resolved = next;
  }
}

async function resolveSubcommand(
  resolved: ResolvedCommand,
  subcommands: Readonly<Record<string, LazyCommand>>,
): Promise<ResolvedCommand | undefined> {
  const { command, words } = resolved;
  const siblings = Object.keys(subcommands).map((name) => fullName(resolved, name));
  const usual = await defaultOf(command);
  const at = firstOperand(words, usual?.command.definitions ?? {});
  const word = words[at];
  if (word !== undefined && Object.hasOwn(subcommands, word)) {
    const found = await loadCommand(subcommands[word] as LazyCommand);
    return { command: found, name: fullName(resolved, word), words: words.toSpliced(at, 1), siblings: [] };
  }
  if (usual !== undefined && !asksAbout(words)) {
    return { command: usual.command, name: fullName(resolved, usual.name), words, siblings };
  }
  if (word === undefined || usual !== undefined) return undefined;
  throw usageError(`Unknown command ${JSON.stringify(word)}`, await didYouMean(word, siblings));
}

/** The entry's own name is no part of a command's. */
function fullName({ name }: ResolvedCommand, subcommand: string): string {
  return name === manifest.name ? subcommand : `${name} ${subcommand}`;
}

/** The subcommand of a group that runs if none is named. */
export async function defaultOf(
  command: ScriptCommand,
): Promise<{ readonly name: string; readonly command: ScriptCommand } | undefined> {
  const name = command.default as string | undefined;
  const found = name === undefined ? undefined : subcommandsOf(command)?.[name];
  return name === undefined || found === undefined ? undefined : { name, command: await loadCommand(found) };
}

/** The subcommands of a group by name. */
export function subcommandsOf({ subCommands }: ScriptCommand): Readonly<Record<string, LazyCommand>> | undefined {
  return subCommands as Readonly<Record<string, LazyCommand>> | undefined;
}

export async function loadCommand(command: LazyCommand): Promise<ScriptCommand> {
  return typeof command === "function" ? command() : command;
}

/** The name and the description of a command. */
export function metaOf({ meta }: ScriptCommand): { readonly name?: string; readonly description?: string } {
  return (meta ?? {}) as { readonly name?: string; readonly description?: string };
}

/**
 * @returns the error of a group that was given no command (exit 2)
 * @throws {ScriptError} `USAGE` (exit 2) for an unknown flag, which comes first
 */
export async function missingSubcommand({ command, name, words }: ResolvedCommand): Promise<ScriptError> {
  await checkArguments({ words, definitions: command.definitions });
  const names = Object.keys(subcommandsOf(command) ?? {});
  return usageError(`${name} needs a command`, `Pass one of: ${names.join(", ")}. See --help.`);
}

/** Whether help or the version is wanted, and not a run. */
export function asksAbout(words: readonly string[]): boolean {
  return hasFlag(words, "--help", "-h") || hasFlag(words, "--version");
}

/** Whether one of the flags is among the words before `--`. */
export function hasFlag(words: readonly string[], ...flags: string[]): boolean {
  const end = words.indexOf("--");
  return words.slice(0, end < 0 ? undefined : end).some((word) => flags.includes(word));
}
