import manifest from "../../../package.json" with { type: "json" };
import { isClone } from "../paths.ts";
import type { ScriptCommand } from "./define-script.ts";
import { usageError } from "./errors.ts";
import { checkArguments, firstOperand } from "./flags.ts";
import { runLine } from "./run-line.ts";
import { ScriptError } from "./script-error.ts";
import { didYouMean } from "./suggestion.ts";

/** The command that a command line selects. */
export interface ResolvedCommand {
  readonly command: ScriptCommand;
  /** The full name: `schema apply`. */
  readonly name: string;
  /** The name of the command whose help describes it: if it runs by default, its group. */
  readonly helpName: string;
  /** The words that remain for the command. */
  readonly words: readonly string[];
  /** Full names of the commands that an unexpected word may stand for. */
  readonly siblings: readonly string[];
}

/** A command, or a function that loads it. */
type LazyCommand = ScriptCommand | (() => Promise<ScriptCommand>);

/**
 * Resolves the names of subcommands.
 *
 * @param root the command of the file that was started
 * @throws {ScriptError} `USAGE` (exit 2) for an unknown command
 */
export async function resolveCommand(root: ScriptCommand, words: readonly string[]): Promise<ResolvedCommand> {
  const { name = manifest.name } = metaOf(root);
  let resolved: ResolvedCommand = { command: root, name, helpName: name, words, siblings: [] };
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
  const fallback = await defaultOf(command);
  const index = firstOperand(words, fallback?.command.definitions ?? {});
  const word = words[index];
  if (word !== undefined && Object.hasOwn(subcommands, word)) {
    const found = await loadCommand(subcommands[word] as LazyCommand);
    const name = fullName(resolved, word);
    return { command: found, name, helpName: name, words: words.toSpliced(index, 1), siblings: [] };
  }
  if (fallback !== undefined && !wantsHelpOrVersion(resolved)) {
    const name = fullName(resolved, fallback.name);
    return { command: fallback.command, name, helpName: resolved.name, words, siblings };
  }
  if (word === undefined || fallback !== undefined) return undefined;
  throw withHelp(usageError(`Unknown command ${JSON.stringify(word)}`, await didYouMean(word, siblings)), resolved);
}

/** @returns a usage error whose fix ends with the command that prints the help; any other error unchanged */
export function withHelp(error: unknown, { helpName }: Pick<ResolvedCommand, "helpName">): unknown {
  if (!(error instanceof ScriptError) || error.code !== "USAGE") return error;
  const rootName = isClone ? "cqrs" : "";
  const see = `See ${runLine(`${helpName === manifest.name ? rootName : helpName} --help`.trimStart())}.`;
  return usageError(error.message, error.fix === undefined ? see : `${error.fix} ${see}`);
}

/** The name of the package, which is the root command, is left out. */
function fullName({ name }: ResolvedCommand, subcommand: string): string {
  return name === manifest.name ? subcommand : `${name} ${subcommand}`;
}

/** The subcommand of a group that runs if the user names none. */
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
 * @throws {ScriptError} `USAGE` (exit 2) for an unknown flag, which is reported first
 */
export async function missingSubcommand({ command, name, words }: ResolvedCommand): Promise<ScriptError> {
  await checkArguments({ words, definitions: command.definitions });
  const names = Object.keys(subcommandsOf(command) ?? {});
  return usageError(`${name} needs a command`, `Pass one of: ${names.join(", ")}.`);
}

/** Whether the user asks for help or the version instead of a run. */
export function wantsHelpOrVersion({ words, command }: ResolvedCommand): boolean {
  const isOfProgram = command.definitions["version"]?.type === "boolean";
  return hasFlag(words, "--help", "-h") || (isOfProgram && hasFlag(words, "--version"));
}

/** Whether one of the flags is among the words before `--`. */
export function hasFlag(words: readonly string[], ...flags: string[]): boolean {
  const end = words.indexOf("--");
  return words.slice(0, end < 0 ? undefined : end).some((word) => flags.includes(word));
}
