import process from "node:process";
import { stripVTControlCharacters } from "node:util";
import { type ArgsDef, type CommandDef, renderUsage, runCommand } from "citty";
import manifest from "../../../package.json" with { type: "json" };
import { terminal } from "../runtime.ts";
import { isExpected } from "../uncaught.ts";
import type { Invocation, ScriptOutcome } from "./define-script.ts";
import { explainFileError } from "./file-error.ts";
import { checkArguments, didYouMean, sharedFlags, usageError } from "./flags.ts";
import { Output } from "./output.ts";
import { Reporter } from "./reporter.ts";
import { exitCodes, ScriptError } from "./script-error.ts";
import { catchSignals } from "./signals.ts";

interface ResolvedCommand {
  readonly command: CommandDef;
  readonly parent: CommandDef | undefined;
  /** `schema apply`: the names from the script to the leaf. */
  readonly name: string;
  readonly rawArgs: readonly string[];
}

/**
 * Runs a command with the words of the command line: the one way every script starts.
 *
 * Sets `process.exitCode` and returns; nothing is cut off by an early exit. Never throws.
 *
 * @param root the command of the file that was started
 */
export async function runAsProcess(root: CommandDef): Promise<void> {
  const startedAt = performance.now();
  const rawArgs = process.argv.slice(2);
  const output = createOutput(rawArgs);
  for (const stream of [process.stdout, process.stderr]) stream.on("error", ignoreBrokenPipe);
  process.on("uncaughtException", (error) => endUncaught(error, output));
  using signals = catchSignals();
  try {
    const resolved = await resolveCommand(root, rawArgs);
    const outcome = await runResolved(resolved, output, signals.signal, startedAt);
    signals.throwIfCaught();
    const following = outcome.follow?.();
    if (following !== undefined) signals[Symbol.dispose]();
    process.exitCode = (await following) ?? outcome.exitCode;
  } catch (error) {
    process.exitCode = report(signals.caught ?? error, output);
  }
}

/** Ends the process with the exit code of a bug: it must not go on as if nothing had happened. */
function endUncaught(error: unknown, output: Output): void {
  if (!isExpected(error)) process.exit(report(error, output));
}

/** Whoever reads may stop early (`| head -1`); the work is done all the same. */
function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

async function runResolved(
  resolved: ResolvedCommand,
  output: Output,
  signal: AbortSignal,
  startedAt: number,
): Promise<Pick<ScriptOutcome, "exitCode" | "follow">> {
  const { command, rawArgs } = resolved;
  if (asksFor(rawArgs, "--help", "-h")) return printHelp(resolved, output);
  if (asksFor(rawArgs, "--version")) {
    output.result(`${manifest.name} ${manifest.version}`);
    return { exitCode: exitCodes.ok };
  }
  if (command.run === undefined) throw await missingSubcommand(resolved);
  await checkArguments(rawArgs, (command.args ?? {}) as ArgsDef);
  const outcome = await invoke(resolved, output, signal);
  if (output.options.isJson) {
    const durationMs = Math.round(performance.now() - startedAt);
    output.json({ ok: true, command: resolved.name, durationMs, data: outcome.data });
  } else {
    outcome.print();
  }
  return outcome;
}

async function invoke(
  { command, rawArgs }: ResolvedCommand,
  output: Output,
  signal: AbortSignal,
): Promise<ScriptOutcome> {
  const canAsk = terminal().isStdinTerminal && output.options.isInteractive && !output.options.isJson;
  const invocation: Invocation = { output, context: { reporter: new Reporter(output), signal, canAsk } };
  try {
    return (await runCommand(command, { rawArgs: [...rawArgs], data: invocation })).result as ScriptOutcome;
  } catch (error) {
    throw isCittyError(error) ? usageError(stripVTControlCharacters(error.message), undefined) : error;
  }
}

async function resolveCommand(root: CommandDef, rawArgs: readonly string[]): Promise<ResolvedCommand> {
  let resolved: ResolvedCommand = { command: root, parent: undefined, name: await nameOf(root), rawArgs };
  for (;;) {
    const subcommands = await subcommandsOf(resolved.command);
    if (subcommands === undefined) return resolved;
    const implied = await impliedCommand(resolved, subcommands);
    const at = implied === undefined ? resolved.rawArgs.findIndex((word) => !word.startsWith("-")) : -1;
    const word = implied ?? resolved.rawArgs[at];
    if (word === undefined) return resolved;
    if (!Object.hasOwn(subcommands, word)) {
      const fix = await didYouMean(word, Object.keys(subcommands));
      throw usageError(`Unknown command ${JSON.stringify(word)}`, fix);
    }
    const command = await resolveLazy(subcommands[word] as () => Promise<CommandDef>);
    const isEntry = resolved.parent === undefined && resolved.name === manifest.name;
    resolved = {
      command,
      parent: resolved.command,
      name: isEntry ? word : `${resolved.name} ${word}`,
      rawArgs: at < 0 ? resolved.rawArgs : resolved.rawArgs.toSpliced(at, 1),
    };
  }
}

/** A group with a default command takes the first word for a command only where it is the name of one. */
async function impliedCommand({ command, rawArgs }: ResolvedCommand, subcommands: object): Promise<string | undefined> {
  const word = rawArgs.find((word) => !word.startsWith("-"));
  const isNamed = word !== undefined && Object.hasOwn(subcommands, word);
  const isHelp = asksFor(rawArgs, "--help", "-h") || asksFor(rawArgs, "--version");
  return isNamed || isHelp ? undefined : resolveLazy(command.default);
}

async function subcommandsOf(command: CommandDef): Promise<Record<string, unknown> | undefined> {
  return (await resolveLazy(command.subCommands)) as Record<string, unknown> | undefined;
}

async function nameOf(command: CommandDef): Promise<string> {
  return (await resolveLazy(command.meta))?.name ?? manifest.name;
}

async function resolveLazy<T>(value: T | Promise<T> | (() => T) | (() => Promise<T>)): Promise<T> {
  return typeof value === "function" ? (value as () => T | Promise<T>)() : value;
}

async function missingSubcommand(resolved: ResolvedCommand): Promise<ScriptError> {
  await checkArguments(resolved.rawArgs, sharedFlags);
  const names = Object.keys((await subcommandsOf(resolved.command)) ?? {});
  return usageError(`${resolved.name} needs a command`, `One of: ${names.join(", ")}. See --help.`);
}

async function printHelp(
  { command, parent }: ResolvedCommand,
  output: Output,
): Promise<Pick<ScriptOutcome, "exitCode">> {
  output.result(await renderUsage(command, parent));
  return { exitCode: exitCodes.ok };
}

function asksFor(rawArgs: readonly string[], ...flags: string[]): boolean {
  const end = rawArgs.indexOf("--");
  return rawArgs.slice(0, end < 0 ? undefined : end).some((word) => flags.includes(word));
}

function createOutput(rawArgs: readonly string[]): Output {
  const { isStdoutTerminal, isStderrTerminal, isCi, colors } = terminal();
  const isInteractive = isStderrTerminal && !isCi;
  const asked = asksFor(rawArgs, "--no-color") ? false : asksFor(rawArgs, "--color") || colors;
  return new Output({
    isJson: asksFor(rawArgs, "--json"),
    isQuiet: asksFor(rawArgs, "--quiet"),
    isVerbose: asksFor(rawArgs, "--verbose"),
    isColored: asked ?? isInteractive,
    isResultColored: asked ?? (isStdoutTerminal && !isCi),
    isInteractive,
  });
}

function report(raised: unknown, output: Output): number {
  const error = explainFileError(raised);
  const known = error instanceof ScriptError ? error : undefined;
  if (output.options.isJson) output.json({ ok: false, error: errorShape(error), ...dataOf(known) });
  if (known !== undefined) {
    if (!output.options.isJson) output.error(known);
    return known.exitCode;
  }
  output.raw(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return exitCodes.bug;
}

function errorShape(error: unknown): Record<"code" | "message" | "why" | "fix", string | null> {
  if (error instanceof ScriptError) {
    return { code: error.code, message: error.message, why: error.why ?? null, fix: error.fix ?? null };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "BUG", message, why: null, fix: "This is a bug: report it with the stack on stderr." };
}

function dataOf(error: ScriptError | undefined): { data?: unknown } {
  return error?.data === undefined ? {} : { data: error.data };
}

function isCittyError(error: unknown): error is Error {
  return error instanceof Error && error.name === "CLIError";
}
