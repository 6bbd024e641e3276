import { spawnSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";

/** What `postmaster.pid` says, if it is ours and true. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

/** What is found in a data directory. */
export type PostmasterState =
  | { readonly state: "none" }
  /**
   * The file is left over, and its number belongs to another program or to a zombie: PostgreSQL would take that for a
   * server and refuse to start.
   */
  | { readonly state: "recycled"; readonly pid: number }
  | ({ readonly state: "running" } & Postmaster);

/**
 * Finds the server of a data directory. A pid alone proves nothing, since numbers are used again: the process must be
 * alive, be `postgres`, and serve this directory.
 */
export async function findPostmaster(dataDir: string): Promise<PostmasterState> {
  const content = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "");
  const lines = content.split("\n");
  const pid = Math.abs(Number(lines[0]));
  if (!Number.isSafeInteger(pid) || pid <= 1 || !exists(pid)) return { state: "none" };
  if (!servesDirectory(pid, dataDir)) return { state: "recycled", pid };
  return { state: "running", pid, port: Number(lines[3]) };
}

/**
 * Tells whether there is such a process, ours or not. A zombie is none: where nobody waits for orphans, as in many
 * containers, a server stays in the process table after its end.
 */
export function isAlive(pid: number): boolean {
  return exists(pid) && !describeProcess(pid).isZombie;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function servesDirectory(pid: number, dataDir: string): boolean {
  const directory = realpathSync(dataDir);
  const { folder, command } = describeProcess(pid);
  const isPostgres = /^(\S*\/)?postgres\b/.test(command) || /\/postgres -D /.test(command);
  return isPostgres && (folder === directory || command.endsWith(` -D ${directory}`));
}

/** What the system tells of a process. */
export interface ProcessFacts {
  readonly isZombie: boolean;
  /** Its working folder: a server's is its data directory, even when that was moved. Unknown on macOS. */
  readonly folder: string;
  readonly command: string;
}

/** Looks at a process. Asks programs rather than /proc: Deno lets nobody read there without every permission. */
export function describeProcess(pid: number): ProcessFacts {
  const [program, ...args] = process.platform === "linux" ? procReader : ["ps", "-ww", "-o", "stat=,command=", "-p"];
  const { stdout } = spawnSync(program as string, [...args, `${pid}`], { encoding: "utf8" });
  const lines = (stdout ?? "").split("\n");
  if (process.platform === "linux") {
    const [state = "", folder = "", ...words] = lines;
    return { isZombie: state.startsWith("Z"), folder, command: words.join(" ").trim() };
  }
  const [, state = "", command = ""] = /^\s*(\S+)\s+(.*)$/.exec(lines[0] ?? "") ?? [];
  return { isZombie: state.startsWith("Z"), folder: "", command };
}

/** Prints the state, the working folder, and the words of the command line, a line each. */
const procReader = [
  "sh",
  "-c",
  'sed -n "s/^State:[[:space:]]*//p" "/proc/$1/status"; readlink "/proc/$1/cwd" || echo; tr "\\0" "\\n" <"/proc/$1/cmdline"',
  "sh",
] as const;
