import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { text } from "node:stream/consumers";
import { runtimeCommand } from "./runtime.ts";

/** How to start a script. */
export interface RunOptions {
  /** The stack directory. */
  readonly stackDir: string;
  /** Variables beside PATH and HOME; nothing else is passed on. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** What a script left. */
export interface ScriptRun {
  /** The exit code; null when it was ended by a signal. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A script at work. */
export interface StartedScript {
  readonly child: ChildProcess;
  readonly ended: Promise<ScriptRun>;
}

/**
 * Starts a script as a user would, on the runtime of the tests.
 *
 * @param words the script's name and its arguments: `["schema", "apply"]`
 */
export function startScript(words: readonly string[], options: RunOptions): StartedScript {
  const [name, ...args] = words;
  const [program, ...runtimeArgs] = runtimeCommand(`scripts/${name}.ts`);
  const child = spawn(program as string, [...runtimeArgs, ...args], {
    cwd: options.cwd,
    env: { ...inherited(), CQRS_STACK_DIR: options.stackDir, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exitCode = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const ended = Promise.all([exitCode, text(child.stdout), text(child.stderr)]).then(([code, stdout, stderr]) => ({
    exitCode: code,
    stdout,
    stderr,
  }));
  return { child, ended };
}

/** Runs a script to its end. */
export function runScript(words: readonly string[], options: RunOptions): Promise<ScriptRun> {
  return startScript(words, options).ended;
}

/**
 * Runs a script with `--json` and returns its `data`.
 *
 * @throws {Error} with both streams when the script does not exit with 0
 */
export async function runForData<Data>(words: readonly string[], options: RunOptions): Promise<Data> {
  const { exitCode, stdout, stderr } = await runScript([...words, "--json"], options);
  if (exitCode !== 0) throw new Error(`${words.join(" ")} exited with ${exitCode}\n${stdout}${stderr}`);
  return (JSON.parse(stdout) as { data: Data }).data;
}

function inherited(): Record<string, string> {
  const { PATH = "", HOME = "", DENO_DIR = "" } = process.env;
  return { PATH, HOME, ...(DENO_DIR === "" ? {} : { DENO_DIR }) };
}
