import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { runtimeCommand } from "./runtime.ts";

/** How to start a script. */
export interface RunOptions {
  /** The stack directory. */
  readonly stackDir: string;
  /** Variables in addition to PATH and HOME. Nothing else is passed on. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What stdin contains; by default, nothing. */
  readonly input?: string;
}

/** The result of a script. */
export interface ScriptRun {
  /** Null if a signal ended it. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running script. */
export interface StartedScript {
  readonly child: ChildProcess;
  readonly ended: Promise<ScriptRun>;
  /**
   * Waits for a text on stderr.
   *
   * @throws {Error} with both streams if the script ends without writing it
   */
  saw(text: string): Promise<void>;
  /** Sends a signal if the script is still running. Deno's `child.kill()` sends only the first. */
  kill(signal: NodeJS.Signals): void;
}

/** How to start a file. */
export type ProgramOptions = Omit<RunOptions, "stackDir">;

/**
 * Starts a script as a user would, on the runtime that runs the tests.
 *
 * @param words the script's name and its arguments: `["schema", "apply"]`
 */
export function startScript(words: readonly string[], { stackDir, env, ...options }: RunOptions): StartedScript {
  const [name, ...args] = words;
  return startProgram(`scripts/${name}.ts`, args, { ...options, env: { CQRS_STACK_DIR: stackDir, ...env } });
}

/**
 * Starts a TypeScript file on the runtime that runs the tests: a fixture, or a script of a copied project.
 *
 * @param file absolute, or relative to the project
 */
export function startProgram(file: string, args: readonly string[], options: ProgramOptions = {}): StartedScript {
  const [program, ...runtimeArgs] = runtimeCommand(file);
  const child = spawn(program as string, [...runtimeArgs, ...args], {
    cwd: options.cwd,
    env: { ...inherited(), ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  // It may end without reading its input.
  child.stdin.on("error", () => {}).end(options.input);
  const written = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (chunk: string) => {
      written[name] += chunk;
    });
  }
  const ended = new Promise<ScriptRun>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, ...written }));
  });
  const saw = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => written.stderr.includes(text) && resolve();
      child.stderr.on("data", look);
      look();
      const tooLate = () => new Error(`it ended without writing ${text}\n${written.stdout}${written.stderr}`);
      ended.then(() => reject(tooLate()), reject);
    });
  const kill = (signal: NodeJS.Signals) => {
    const isRunning = child.pid !== undefined && child.exitCode === null && child.signalCode === null;
    if (isRunning) process.kill(child.pid as number, signal);
  };
  return { child, ended, saw, kill };
}

/** Runs a script to its end. */
export function runScript(words: readonly string[], options: RunOptions): Promise<ScriptRun> {
  return startScript(words, options).ended;
}

/**
 * Runs a script with `--json` and returns its `data`.
 *
 * @throws {Error} with both streams if the script does not exit with 0
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
