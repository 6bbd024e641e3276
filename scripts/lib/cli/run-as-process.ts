import process from "node:process";
import { stripVTControlCharacters } from "node:util";
import { runCommand } from "citty";
import manifest from "../../../package.json" with { type: "json" };
import { terminal } from "../runtime.ts";
import { Declined } from "./confirm.ts";
import type { Invocation, ScriptCommand, ScriptOutcome } from "./define-script.ts";
import { usageError } from "./errors.ts";
import { explainFileError } from "./file-error.ts";
import { checkArguments } from "./flags.ts";
import { Output } from "./output.ts";
import { Reporter } from "./reporter.ts";
import {
  hasFlag,
  missingSubcommand,
  type ResolvedCommand,
  resolveCommand,
  wantsHelpOrVersion,
  withHelp,
} from "./resolve-command.ts";
import { runLine } from "./run-line.ts";
import { exitCodes, ScriptError } from "./script-error.ts";
import { explainServerError } from "./server-error.ts";
import { type CaughtSignals, catchSignals } from "./signals.ts";

/**
 * Runs a command with the words of the command line. Every script starts here.
 *
 * Sets `process.exitCode` and returns, so that no output is cut off. Never throws.
 *
 * @param root the command of the file that was started
 */
export async function runAsProcess(root: ScriptCommand): Promise<void> {
  const startedAt = performance.now();
  const words = process.argv.slice(2);
  const output = createOutput(words);
  for (const stream of [process.stdout, process.stderr]) stream.on("error", ignoreBrokenPipe);
  // After an uncaught exception the state is unknown: stop at once.
  process.on("uncaughtException", (error) => process.exit(report(error, output)));
  using signals = catchSignals();
  try {
    const resolved = await resolveCommand(root, words);
    if (wantsHelpOrVersion(resolved)) return await printHelpOrVersion(resolved, output, startedAt);
    const outcome = await invoke(resolved, output, signals.signal);
    const exitCode = printOutcome(outcome, signals.caught, output, successOf(resolved, startedAt, outcome.data));
    const following = signals.caught === undefined ? outcome.follow?.() : undefined;
    if (following !== undefined) signals[Symbol.dispose]();
    process.exitCode = (await following) ?? exitCode;
  } catch (error) {
    process.exitCode = report(signals.caught ?? error, output);
  }
}

/** A reader may close the pipe early (`| head -1`); the work still completes. */
function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

async function printHelpOrVersion(resolved: ResolvedCommand, output: Output, startedAt: number): Promise<void> {
  const { name, version } = manifest;
  if (!hasFlag(resolved.words, "--help", "-h")) {
    if (output.options.isJson) output.json(successOf(resolved, startedAt, { name, version }));
    else output.result(`${name} ${version}`);
    return;
  }
  const { describeCommand, renderHelp } = await import("./help.ts");
  const page = await describeCommand(resolved.command, resolved.name);
  if (output.options.isJson) output.json(successOf(resolved, startedAt, page));
  else output.result(renderHelp(page, (text) => output.style("bold", text)));
}

function successOf({ name }: ResolvedCommand, startedAt: number, data: unknown) {
  return { ok: true, command: name, durationMs: Math.round(performance.now() - startedAt), data };
}

async function invoke(resolved: ResolvedCommand, output: Output, signal: AbortSignal): Promise<ScriptOutcome> {
  const { command, words, siblings } = resolved;
  const canAsk = terminal().isStdinTerminal && output.options.isInteractive && !output.options.isJson;
  const reporter = new Reporter(output);
  const data: Invocation = { output, reporter, signal, canAsk, commandLine: commandLineOf(resolved) };
  try {
    if (command.run === undefined) throw await missingSubcommand(resolved);
    await checkArguments({ words, definitions: command.definitions, commands: siblings });
    return (await runCommand(command, { rawArgs: [...words], data })).result as ScriptOutcome;
  } catch (error) {
    throw withHelp(isCittyError(error) ? usageError(stripVTControlCharacters(error.message)) : error, resolved);
  }
}

/** @returns the command as it can be run again: `bun run restore latest --into copy` */
function commandLineOf({ name, words }: ResolvedCommand): string {
  return runLine([name, ...words.map(quoteForShell)].join(" "));
}

function quoteForShell(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * Prints the result of a run; with `--json`, as one object. A run that a signal stopped has failed, even if it has a
 * result.
 */
function printOutcome(
  { data, exitCode, failure, endsBySignal, print }: ScriptOutcome,
  caught: CaughtSignals["caught"],
  output: Output,
  success: unknown,
): number {
  const error = caught ?? failure;
  if (output.options.isJson) output.json(error === undefined ? success : { ...failureOf(error), data });
  else print();
  if (error === undefined) return exitCode;
  const isNormal = error === caught && endsBySignal;
  if (!output.options.isJson && !isNormal) output.error(error);
  return error.exitCode;
}

function createOutput(words: readonly string[]): Output {
  const { isStdoutTerminal, isStderrTerminal, isCi, colors } = terminal();
  const isInteractive = isStderrTerminal && !isCi;
  const requested = hasFlag(words, "--no-color") ? false : hasFlag(words, "--color") || colors;
  return new Output({
    isJson: hasFlag(words, "--json"),
    isQuiet: hasFlag(words, "--quiet"),
    isVerbose: hasFlag(words, "--verbose"),
    isColored: requested ?? isInteractive,
    isResultColored: requested ?? (isStdoutTerminal && !isCi),
    isInteractive,
  });
}

function report(raised: unknown, output: Output): number {
  const error = explainServerError(explainFileError(firstOf(raised)));
  if (output.options.isJson) output.json(failureOf(error));
  if (error instanceof ScriptError) {
    if (error instanceof Declined) output.progress(error.message);
    else if (!output.options.isJson) output.error(error);
    return error.exitCode;
  }
  output.raw(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return exitCodes.bug;
}

/** If disposing of something fails after an error, that error is the cause. */
function firstOf(error: unknown): unknown {
  const isSuppressed = error instanceof Error && "suppressed" in error;
  return isSuppressed ? firstOf(error.suppressed) : error;
}

function failureOf(error: unknown) {
  if (error instanceof ScriptError) {
    const { code, message, why = null, fix = null, data } = error;
    return { ok: false, error: { code, message, why, fix }, ...(data === undefined ? {} : { data }) };
  }
  const message = error instanceof Error ? error.message : String(error);
  const fix = "Report this bug, with the stack trace on stderr.";
  return { ok: false, error: { code: "BUG", message, why: null, fix } };
}

function isCittyError(error: unknown): error is Error {
  return error instanceof Error && error.name === "CLIError";
}
