import { existsSync, realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describeProcess, findProcessesIn, hasProcess } from "../../process.ts";
import { readConfiguredPort } from "./cluster.ts";

/** A running server. */
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
  | ({
      readonly state: "running";
      /** Its `postmaster.pid` was removed or replaced: PostgreSQL notices that within a minute and shuts down. */
      readonly hasLostPidFile: boolean;
    } & Postmaster);

const defaultPort = 5432;

/**
 * Finds the server of a data directory: by its `postmaster.pid`, or else among all processes, because people remove
 * that file.
 */
export async function findPostmaster(dataDir: string): Promise<PostmasterState> {
  const found = await readPostmaster(dataDir);
  if (found.state === "running" || !existsSync(dataDir)) return found;
  const pid = findProcessesIn(realpathSync(dataDir)).find((candidate) => servesDirectory(candidate, dataDir));
  if (pid === undefined) return found;
  return { state: "running", pid, port: (await readConfiguredPort(dataDir)) ?? defaultPort, hasLostPidFile: true };
}

/**
 * Reads `postmaster.pid`. A pid alone proves nothing, because pids are reused: the process must be alive, be
 * `postgres`, and serve this directory.
 */
export async function readPostmaster(dataDir: string): Promise<PostmasterState> {
  const content = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "");
  const lines = content.split("\n");
  const pid = Math.abs(Number(lines[0]));
  if (!Number.isSafeInteger(pid) || pid <= 1 || !hasProcess(pid)) return { state: "none" };
  if (!servesDirectory(pid, dataDir)) return { state: "recycled", pid };
  return { state: "running", pid, port: Number(lines[3]), hasLostPidFile: false };
}

function servesDirectory(pid: number, dataDir: string): boolean {
  const directory = realpathSync(dataDir);
  const { folder, command } = describeProcess(pid);
  // The server's own processes have names such as "postgres: checkpointer".
  const isPostgres = /^(\S*\/)?postgres\b(?!:)/.test(command) || /\/postgres -D /.test(command);
  return isPostgres && (folder === directory || command.endsWith(` -D ${directory}`));
}
