import { realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describeProcess, hasProcess } from "../../process.ts";

/** A running server, as its `postmaster.pid` describes it. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

/** What a data directory reveals about its server. */
export type PostmasterState =
  | { readonly state: "none" }
  /**
   * The file is stale, and its pid belongs to another program or to a zombie. PostgreSQL would take that for a server
   * and refuse to start.
   */
  | { readonly state: "recycled"; readonly pid: number }
  | ({ readonly state: "running" } & Postmaster);

/**
 * Finds the server of a data directory. A pid alone proves nothing, because pids are reused: the process must be alive,
 * be `postgres`, and serve this directory.
 */
export async function findPostmaster(dataDir: string): Promise<PostmasterState> {
  const content = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "");
  const lines = content.split("\n");
  const pid = Math.abs(Number(lines[0]));
  if (!Number.isSafeInteger(pid) || pid <= 1 || !hasProcess(pid)) return { state: "none" };
  if (!servesDirectory(pid, dataDir)) return { state: "recycled", pid };
  return { state: "running", pid, port: Number(lines[3]) };
}

function servesDirectory(pid: number, dataDir: string): boolean {
  const directory = realpathSync(dataDir);
  const { folder, command } = describeProcess(pid);
  const isPostgres = /^(\S*\/)?postgres\b/.test(command) || /\/postgres -D /.test(command);
  return isPostgres && (folder === directory || command.endsWith(` -D ${directory}`));
}
