import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../postgres/failure.ts";
import { describeProcess, runProcess } from "../process.ts";

/** A process that listens on a port of this machine. */
export interface Listener {
  readonly pid: number;
  readonly command: string;
  /** Its working folder: of a PostgreSQL server, the data directory. */
  readonly folder: string;
}

/** A socket that listens. */
interface Socket {
  readonly pid: number;
  /** Undefined if the program does not print it. */
  readonly address?: string;
}

interface Finder {
  readonly command: (port: number) => readonly [program: string, ...args: string[]];
  readonly parse: (text: string) => Socket[];
}

/** Whichever of these programs is installed. */
const finders: readonly Finder[] = [
  { command: (port) => ["lsof", "-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpn"], parse: parseLsof },
  { command: (port) => ["ss", "-Hltnp", `sport = :${port}`], parse: parseSs },
  { command: (port) => ["fuser", `${port}/tcp`], parse: (text) => (text.match(/\d+/g) ?? []).map(withoutAddress) },
];

/** With an address of another interface, a program does not take the port of 127.0.0.1. */
const conflicting = ["127.0.0.1", "0.0.0.0", "*", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]"];

/**
 * @returns the processes that listen on a port of 127.0.0.1, also through all addresses; none if no program of this
 * machine shows them, as for processes of other users
 */
export async function findListeners(port: number, signal: AbortSignal): Promise<Listener[]> {
  for (const { command, parse } of finders) {
    const [program, ...args] = command(port);
    const { stdout } = await runProcess(program, args, { signal }).catch((error: unknown) => {
      if (errorCode(error) !== "ENOENT") throw error;
      return { stdout: "" };
    });
    const found = parse(stdout).filter(({ address }) => address === undefined || conflicting.includes(address));
    if (found.length > 0) return [...new Set(found.map(({ pid }) => pid))].map(describeListener);
  }
  return [];
}

function describeListener(pid: number): Listener {
  const { command, folder } = describeProcess(pid);
  return { pid, command, folder };
}

/** Lines `p<pid>`, each followed by `n<address>:<port>` for each of its sockets. */
export function parseLsof(text: string): Socket[] {
  let pid = 0;
  return text.split("\n").flatMap((line) => {
    if (line.startsWith("p")) pid = Number(line.slice(1));
    return line.startsWith("n") ? [{ pid, address: line.slice(1).replace(/:\d+$/, "") }] : [];
  });
}

/** Lines `LISTEN 0 128 <address>:<port> <peer> users:(("program",pid=1,fd=3))`; an interface may follow the address. */
export function parseSs(text: string): Socket[] {
  return text.split("\n").flatMap((line) => {
    const address = (line.split(/\s+/)[3] ?? "").replace(/:\d+$/, "").replace(/%\w+$/, "");
    return [...line.matchAll(/\bpid=(\d+)/g)].map(([, pid]) => ({ pid: Number(pid), address }));
  });
}

function withoutAddress(pid: string): Socket {
  return { pid: Number(pid) };
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
