import { type ArgsDef, type CommandDef, defineCommand, type ParsedArgs } from "citty";
import { sharedFlags } from "./flags.ts";
import type { Output } from "./output.ts";
import type { Reporter } from "./reporter.ts";

/** What a script gets to do its work with. */
export interface ScriptContext<Args extends ArgsDef> {
  readonly args: ParsedArgs<Args & typeof sharedFlags>;
  /** The words that belong to no flag, as far as `--`. */
  readonly operands: readonly string[];
  /** The words after `--`. */
  readonly commandWords: readonly string[];
  readonly reporter: Reporter;
  /** Aborted by SIGINT and SIGTERM: end what waits, clean up, return. */
  readonly signal: AbortSignal;
  /** Whether a question may be asked: somebody sits at the terminal. */
  readonly canAsk: boolean;
}

/** A script as data. */
export interface ScriptDefinition<Args extends ArgsDef, Data> {
  readonly meta: { readonly name: string; readonly description: string };
  readonly args?: Args;
  /** Does the work; what it returns is the `data` of `--json`. */
  run(context: ScriptContext<Args>): Promise<Data>;
  /** Prints the result for people. */
  print(data: Data, output: Output): void;
  /** The exit code of a run that succeeded; 0 when left out. */
  exitCode?(data: Data, args: ScriptContext<Args>["args"]): number;
  /** What follows once all is printed, and signals are left to it; the exit code it comes to is the script's. */
  follow?(data: Data): Promise<number>;
}

/** What the runner hands through citty to a script. */
export interface Invocation {
  readonly context: Omit<ScriptContext<ArgsDef>, "args" | "operands" | "commandWords">;
  readonly output: Output;
}

/** What a script hands back to the runner. */
export interface ScriptOutcome {
  readonly data: unknown;
  readonly exitCode: number;
  print(): void;
  follow?(): Promise<number>;
}

/**
 * Makes a citty command of a script: adds the shared flags and keeps the work apart from the printing.
 *
 * @returns a command for `runAsProcess()` or for another command's `subCommands`
 */
export function defineScript<const Args extends ArgsDef, Data>(definition: ScriptDefinition<Args, Data>): CommandDef {
  const args: ArgsDef = { ...definition.args, ...sharedFlags };
  return defineCommand({
    meta: definition.meta,
    args,
    async run({ args, data, rawArgs }): Promise<ScriptOutcome> {
      const { context, output } = data as Invocation;
      const given = args as ScriptContext<Args>["args"];
      const result = await definition.run({ ...context, ...splitWords(args._, rawArgs), args: given });
      const { follow } = definition;
      return {
        data: result,
        exitCode: definition.exitCode?.(result, given) ?? 0,
        print: () => definition.print(result, output),
        ...(follow === undefined ? {} : { follow: () => follow(result) }),
      };
    },
  });
}

/** citty puts the words before and after `--` into one list. */
function splitWords(
  words: readonly string[],
  rawArgs: readonly string[],
): Pick<ScriptContext<ArgsDef>, "operands" | "commandWords"> {
  const end = rawArgs.indexOf("--");
  const commandWords = end < 0 ? [] : rawArgs.slice(end + 1);
  return { operands: words.slice(0, words.length - commandWords.length), commandWords };
}

/** A script that only has commands of its own. */
export interface ScriptGroupDefinition {
  readonly meta: { readonly name: string; readonly description: string; readonly version?: string };
  /** By name; a function loads its command when it is asked for. */
  readonly subCommands: Readonly<Record<string, CommandDef | (() => Promise<CommandDef>)>>;
  /** The command that is meant when none is named; one has to be named when left out. */
  readonly default?: string;
}

/** Makes a citty command that dispatches to others. */
export function defineScriptGroup(definition: ScriptGroupDefinition): CommandDef {
  const args: ArgsDef = sharedFlags;
  return defineCommand({ ...definition, args });
}
