import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describeProcess, runProcessSync } from "../process.ts";

/** A process that listens on a port of this machine. */
export interface Listener {
  readonly pid: number;
  readonly command: string;
  /** Its working folder: of a PostgreSQL server, the data directory. */
  readonly folder: string;
}

/** Whichever of these programs is installed. Each prints pids. */
const finder = [
  "sh",
  "-c",
  'lsof -nP -iTCP:"$1" -sTCP:LISTEN -t 2>/dev/null || ' +
    'ss -Hltnp "sport = :$1" 2>/dev/null | grep -o "pid=[0-9]*" || fuser "$1/tcp" 2>/dev/null',
  "sh",
] as const;

/** @returns undefined if no program of this machine shows it, as for processes of other users */
export function findListener(port: number): Listener | undefined {
  const [program, ...args] = finder;
  const pid = Number(/\d+/.exec(runProcessSync(program, [...args, `${port}`]).stdout)?.[0]);
  if (!Number.isSafeInteger(pid)) return undefined;
  const { command, folder } = describeProcess(pid);
  return { pid, command, folder };
}

/** @returns the program and its first argument; the others may contain passwords */
export function shortCommand(command: string): string {
  const [program = "", first, ...others] = command.split(/\s+/);
  return [program, ...(first === undefined ? [] : [first]), ...(others.length > 0 ? ["…"] : [])].join(" ");
}

/** @returns which PostgreSQL server it is; undefined if it is none, or its folder cannot be read */
export function describeServer({ folder }: Listener): string | undefined {
  const file = join(folder, "PG_VERSION");
  if (folder === "" || !existsSync(file)) return undefined;
  return `PostgreSQL ${readFileSync(file, "utf8").trim()} on ${folder}`;
}
