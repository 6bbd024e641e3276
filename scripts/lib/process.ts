import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { x, xSync } from "tinyexec";
import { environment, variableNames } from "./runtime.ts";

/** How to run a program. */
export interface ProcessOptions {
  readonly cwd?: string;
  /** The whole environment of the program; this process's own by default. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
  readonly gid?: number;
  /** Written to its stdin. */
  readonly input?: string;
  /** Kills the program when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** How a program ended. */
export interface ProcessResult {
  /** Undefined if a signal killed it. */
  readonly exitCode: number | undefined;
  /** The signal that killed it, if any. */
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program and collects its output, whatever its exit code.
 *
 * @throws the system's error if it cannot be started (ENOENT, EACCES), or the reason of the signal
 */
export async function runProcess(
  program: string,
  args: readonly string[],
  { input = "", signal, ...options }: ProcessOptions = {},
): Promise<ProcessResult> {
  signal?.throwIfAborted();
  const running = x(program, args, { ...(signal === undefined ? {} : { signal }), ...settings(options), stdin: input });
  // tinyexec decodes chunk by chunk, which would break a character that spans two chunks.
  running.process?.stdout?.setEncoding("utf8");
  running.process?.stderr?.setEncoding("utf8");
  // A program may exit without reading its input.
  running.process?.stdin?.on("error", () => {});
  // A program that it has started itself survives it, and keeps its output open.
  const release = () => {
    running.process?.stdout?.destroy();
    running.process?.stderr?.destroy();
  };
  signal?.addEventListener("abort", release, { once: true });
  const { exitCode, stdout, stderr } = await running;
  signal?.removeEventListener("abort", release);
  signal?.throwIfAborted();
  return { exitCode, signal: running.signalCode, stdout, stderr };
}

/** The end of the errors of a program whose output is passed on. */
const maxErrorBytes = 64 * 1024;

/**
 * Runs a program and passes its output on while it runs.
 *
 * @param onOutput returns false to end the program
 * @throws the system's error if it cannot be started
 */
export async function streamProcess(
  program: string,
  args: readonly string[],
  { cwd, env, signal }: Pick<ProcessOptions, "cwd" | "env" | "signal">,
  onOutput: (chunk: Buffer) => Promise<boolean>,
): Promise<Pick<ProcessResult, "exitCode" | "stderr">> {
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const end = () => void child.kill();
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-maxErrorBytes);
  });
  const ended = new Promise<number | undefined>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => resolve(exitCode ?? undefined));
  });
  const pass = async () => {
    for await (const chunk of child.stdout) if (!(await onOutput(chunk as Buffer))) end();
  };
  signal?.addEventListener("abort", end, { once: true });
  if (signal?.aborted) end();
  try {
    const [exitCode] = await Promise.all([ended, pass()]);
    return { exitCode, stderr };
  } finally {
    signal?.removeEventListener("abort", end);
  }
}

/** Like {@link runProcess}, but blocks until the program exits. For programs that take milliseconds. */
export function runProcessSync(
  program: string,
  args: readonly string[],
  options: Omit<ProcessOptions, "input" | "signal"> = {},
): ProcessResult {
  const { exitCode, signalCode, stdout, stderr } = xSync(program, args, settings(options));
  return { exitCode, signal: signalCode, stdout, stderr };
}

function settings({ env, ...options }: Omit<ProcessOptions, "input" | "signal">) {
  return { nodePath: false, nodeOptions: { ...options, ...(env === undefined ? {} : { env: onlyThese(env) }) } };
}

/** tinyexec adds our own environment, passwords included, to the given one; undefined removes a variable. */
function onlyThese(env: NonNullable<ProcessOptions["env"]>): Record<string, string | undefined> {
  return { ...Object.fromEntries(variableNames().map((name) => [name, undefined])), ...env };
}

/** @returns the path of the first of these programs that is on the PATH */
export function findOnPath(...names: string[]): string | undefined {
  const folders = (environment()["PATH"] ?? "").split(delimiter).filter(Boolean);
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find(existsSync);
}

/** What the system knows about a process. */
export interface ProcessFacts {
  readonly isZombie: boolean;
  /** Its working folder. For a server, this is the data directory, even if it was moved. Unknown on macOS. */
  readonly folder: string;
  readonly command: string;
}

/** Describes a process. Runs programs instead of reading /proc, because Deno requires all permissions for that. */
export function describeProcess(pid: number): ProcessFacts {
  const isLinux = process.platform === "linux";
  const [program, ...args] = isLinux ? procReader : ["ps", "-ww", "-o", "stat=,command=", "-p"];
  const lines = runProcessSync(program as string, [...args, `${pid}`]).stdout.split("\n");
  if (isLinux) {
    const [state = "", folder = "", ...words] = lines;
    return { isZombie: state.startsWith("Z"), folder, command: words.join(" ").trim() };
  }
  const [, state = "", command = ""] = /^\s*(\S+)\s+(.*)$/.exec(lines[0] ?? "") ?? [];
  return { isZombie: state.startsWith("Z"), folder: "", command };
}

/** Prints the state, the working folder and the words of the command line, one per line. */
const procReader = [
  "sh",
  "-c",
  'sed -n "s/^State:[[:space:]]*//p" "/proc/$1/status"; readlink "/proc/$1/cwd" || echo; tr "\\0" "\\n" <"/proc/$1/cmdline"',
  "sh",
] as const;

/**
 * Finds processes that may be a server of a data directory: on Linux by their working folder, which follows a move;
 * elsewhere by their command line.
 *
 * @param directory without symbolic links
 */
export function findProcessesIn(directory: string): number[] {
  const isLinux = process.platform === "linux";
  const [program, ...args] = isLinux ? [...folderSearch, directory] : ["ps", "-axww", "-o", "pid=,command="];
  const lines = runProcessSync(program as string, args).stdout.split("\n");
  const found = isLinux ? lines : lines.filter((line) => line.endsWith(` -D ${directory}`));
  return found.map((line) => Number.parseInt(line.replace("/proc/", ""), 10)).filter((pid) => pid > 1);
}

/**
 * Compares the folders, not their paths: the same path may be another folder in a container. Nothing below them counts:
 * another user cannot enter a data directory, but can make a folder with a symbolic link into it.
 */
const folderSearch = [
  "sh",
  "-c",
  'for folder in /proc/[0-9]*; do [ "$folder/cwd" -ef "$1" ] && echo "$folder"; done',
  "sh",
] as const;

/**
 * Reads when a process was started: on Linux in clock ticks since the system was started, elsewhere in seconds.
 *
 * @returns undefined if there is no such process, or if it is a zombie
 */
export function readStartTime(pid: number): number | undefined {
  const isLinux = process.platform === "linux";
  const [program, ...args] = isLinux ? startTimeReader : ["ps", "-o", "stat=,lstart=", "-p"];
  const { stdout } = runProcessSync(program as string, [...args, `${pid}`], {
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
  });
  const [, state = "Z", time = ""] = /^(\S+)\s+(.*)$/.exec(stdout.trim()) ?? [];
  if (state.startsWith("Z")) return undefined;
  return isLinux ? Number(time) : Date.parse(time) / 1000;
}

/** Prints the state and the start time. The name of the program comes before them, and may contain anything. */
const startTimeReader = ["sh", "-c", 'sed "s/.*) //" "/proc/$1/stat" 2>/dev/null | cut -d " " -f 1,20', "sh"] as const;

/**
 * Checks whether a process of any user is running. A zombie does not count: if nothing reaps orphans, as in many
 * containers, a server stays in the process table after it has exited.
 */
export function isAlive(pid: number): boolean {
  return hasProcess(pid) && !describeProcess(pid).isZombie;
}

/** Checks whether the process table has this pid, zombies included. */
export function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
