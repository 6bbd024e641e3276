import { type CommandDef, defineCommand } from "citty";
import { type ArgDefinitions, type ArgValues, convertArgs, toCittyArgs } from "./args.ts";
import { type Confirmation, confirmOrRefuse } from "./confirm.ts";
import { sharedFlags } from "./flags.ts";
import type { Output } from "./output.ts";
import type { Reporter } from "./reporter.ts";
import type { ScriptError } from "./script-error.ts";

/** What a script's `run` receives. */
export interface ScriptContext<Args extends ArgDefinitions> {
  /** Its own flags come first; they may redefine shared ones. */
  readonly args: ArgValues<Args & Omit<typeof sharedFlags, keyof Args>>;
  /** The words before `--` that belong to no flag. */
  readonly operands: readonly string[];
  /** The words after `--`. */
  readonly commandWords: readonly string[];
  readonly reporter: Reporter;
  /** Aborted by SIGINT and SIGTERM: stop waiting, clean up, return. */
  readonly signal: AbortSignal;
  /**
   * Prints a part of a result that is too long, or not over, when `print` runs. Not for `--json`.
   *
   * @returns false once the reader has closed the pipe
   */
  write(text: string): Promise<boolean>;
  /**
   * Shows what is about to be lost, and asks for confirmation unless `--yes` was given.
   *
   * @throws {ScriptError} `REFUSED` (exit 8) if the answer is no, or there is no terminal to ask on
   */
  confirm(confirmation: Confirmation): Promise<void>;
}

/** A line of the help: what to run, and what that does. */
export type Example = readonly [line: string, effect: string];

/** A script as data. */
export interface ScriptDefinition<Args extends ArgDefinitions, Data> {
  readonly meta: { readonly name: string; readonly description: string };
  readonly args?: Args;
  readonly examples: readonly [Example, ...Example[]];
  /**
   * Checks combinations of arguments before any other module is loaded.
   *
   * @throws {ScriptError} `USAGE` (exit 2)
   */
  check?(args: ScriptContext<Args>["args"]): void;
  /** Does the work; what it returns is the `data` of `--json`. */
  run(context: ScriptContext<Args>): Promise<Data>;
  /** Prints the result for people. */
  print(data: Data, output: Output): void;
  /** What a result means that is complete, but says that something is wrong; its exit code is that of the run. */
  failure?(data: Data): ScriptError | undefined;
  /** The exit code of a successful run. @default 0 */
  exitCode?(data: Data, args: ScriptContext<Args>["args"]): number;
  /** Whether a signal is the normal way to end this run, not an error. */
  endsBySignal?(args: ScriptContext<Args>["args"]): boolean;
  /** Runs after the result is printed and the signal handlers are removed; returns the script's exit code. */
  follow?(data: Data): Promise<number>;
}

/** What the runner passes through citty to a script. */
export interface Invocation {
  readonly output: Output;
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
  /** Whether someone at the terminal can answer a question. */
  readonly canAsk: boolean;
  /** As it can be run again. */
  readonly commandLine: string;
}

/** What a script returns to the runner. */
export interface ScriptOutcome {
  readonly data: unknown;
  readonly exitCode: number;
  readonly failure: ScriptError | undefined;
  readonly endsBySignal: boolean;
  print(): void;
  follow?(): Promise<number>;
}

/** A citty command, plus what the help and the checks of arguments need. */
export type ScriptCommand = CommandDef & {
  readonly definitions: ArgDefinitions;
  readonly examples: readonly Example[];
};

/**
 * Turns a script into a command: adds the shared flags, converts values, and separates the work from the output.
 *
 * @returns a command for `runAsProcess()` or for a group
 */
export function defineScript<const Args extends ArgDefinitions, Data>(
  script: ScriptDefinition<Args, Data>,
): ScriptCommand {
  // A script's own flags come first; they may redefine shared ones.
  const definitions: ArgDefinitions = { ...script.args, ...sharedFlags, ...script.args };
  return {
    ...defineCommand({
      meta: script.meta,
      args: toCittyArgs(definitions),
      run: ({ args: parsed, data, rawArgs }) => {
        const args = convertArgs(parsed, definitions) as ScriptContext<Args>["args"];
        return runScript(script, { args, ...splitWords(parsed._, rawArgs) }, data as Invocation);
      },
    }),
    definitions,
    examples: script.examples,
  };
}

type Words = Pick<ScriptContext<ArgDefinitions>, "operands" | "commandWords">;

async function runScript<Args extends ArgDefinitions, Data>(
  script: ScriptDefinition<Args, Data>,
  given: Pick<ScriptContext<Args>, "args"> & Words,
  { output, reporter, signal, canAsk, commandLine }: Invocation,
): Promise<ScriptOutcome> {
  const { args } = given;
  script.check?.(args);
  const isConfirmed = (args as ArgValues<typeof sharedFlags>).yes;
  const confirm = (confirmation: Confirmation) =>
    confirmOrRefuse(confirmation, { isConfirmed, canAsk, commandLine, reporter, signal });
  const write = (text: string) => output.write(text);
  const result = await script.run({ ...given, reporter, signal, confirm, write });
  const { follow } = script;
  return {
    data: result,
    exitCode: script.exitCode?.(result, args) ?? 0,
    failure: script.failure?.(result),
    endsBySignal: script.endsBySignal?.(args) === true,
    print: () => script.print(result, output),
    ...(follow === undefined ? {} : { follow: () => follow(result) }),
  };
}

/** citty puts the words before and after `--` into one list. */
function splitWords(words: readonly string[], rawArgs: readonly string[]): Words {
  const end = rawArgs.indexOf("--");
  const commandWords = end < 0 ? [] : rawArgs.slice(end + 1);
  return { operands: words.slice(0, words.length - commandWords.length), commandWords };
}

/** A script that consists of subcommands. */
export interface ScriptGroupDefinition {
  readonly meta: { readonly name: string; readonly description: string; readonly version?: string };
  readonly examples: readonly [Example, ...Example[]];
  /** By name; a function loads its command on demand. */
  readonly subCommands: Readonly<Record<string, ScriptCommand | (() => Promise<ScriptCommand>)>>;
  /** The subcommand that runs if none is named. */
  readonly default?: string;
}

/** Turns a group into a command that dispatches. */
export function defineScriptGroup(group: ScriptGroupDefinition): ScriptCommand {
  return { ...defineCommand({ ...group, args: toCittyArgs(sharedFlags) }), ...group, definitions: sharedFlags };
}
