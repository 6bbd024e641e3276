import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync, realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import process from "node:process";

/** What `postmaster.pid` says, if it is ours and true. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

/** What is found in a data directory. */
export type PostmasterState =
  | { readonly state: "none" }
  /** The file is left over, and its number now belongs to another program: PostgreSQL would refuse to start. */
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
  if (!Number.isSafeInteger(pid) || pid <= 1 || !isAlive(pid)) return { state: "none" };
  if (!servesDirectory(pid, dataDir)) return { state: "recycled", pid };
  return { state: "running", pid, port: Number(lines[3]) };
}

/** @returns whether there is such a process, ours or not */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** A server whose starter is still there, but does not wait for it, stays in the process table after its end. */
function isZombie(pid: number): boolean {
  if (process.platform !== "linux") return false;
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/s, ""));
  } catch {
    return false;
  }
}

function servesDirectory(pid: number, dataDir: string): boolean {
  const directory = realpathSync(dataDir);
  if (process.platform === "linux") {
    const words = readOrEmpty(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")).split("\0");
    const isPostgres = basename(words[0] ?? "") === "postgres";
    const isHere = readOrEmpty(() => readlinkSync(`/proc/${pid}/cwd`)) === directory;
    return isPostgres && (isHere || words[words.indexOf("-D") + 1] === directory);
  }
  const command = readOrEmpty(() =>
    execFileSync("ps", ["-ww", "-o", "command=", "-p", `${pid}`], { encoding: "utf8" }),
  );
  return /(^|\/)postgres /.test(command) && command.includes(`-D ${directory}`);
}

function readOrEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
