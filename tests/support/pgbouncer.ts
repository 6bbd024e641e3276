import { spawn, spawnSync } from "node:child_process";
import { chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { unusedPort } from "./port.ts";

/** Ordinary users on Debian do not have /usr/sbin on their PATH. */
const searchPath = `${process.env["PATH"]}:/usr/sbin`;
const { stdout } = spawnSync("pgbouncer", ["--version"], { env: { PATH: searchPath }, encoding: "utf8" });
const [, major, minor] = /^PgBouncer (\d+)\.(\d+)/.exec(stdout ?? "") ?? [];

/** Why tests of PgBouncer are skipped; false if they can run. */
export const pgBouncerSkip: string | false = major === undefined ? "PgBouncer is not installed" : false;

/** Whether it supports prepared statements in transaction mode, as 1.21 and later do. */
export const supportsPrepared: boolean = Number(major) > 1 || Number(minor) >= 21;

/** How PgBouncer works. */
export interface PgBouncerOptions {
  readonly poolMode: "transaction" | "session";
  /** Maximum number of connections to the server, for each login and database. */
  readonly poolSize: number;
}

/** A PgBouncer in front of a server. Disposing of it stops it. */
export interface PgBouncer extends AsyncDisposable {
  readonly port: number;
}

/** `nobody`; PgBouncer refuses to run as root. */
const ordinaryUser = 65_534;
const startTimeoutMs = 60_000;

/** Starts PgBouncer in front of a server on this machine. */
export async function startPgBouncer(target: ConnectionTarget, options: PgBouncerOptions): Promise<PgBouncer> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-pgbouncer-"));
  const port = await unusedPort();
  const files = {
    "userlist.txt": `${quote(target.user)} ${quote(target.password ?? "")}\n`,
    "pgbouncer.ini": `
      [databases]
      * = host=${target.host} port=${target.port}
      [pgbouncer]
      listen_addr = 127.0.0.1
      listen_port = ${port}
      unix_socket_dir =
      auth_type = scram-sha-256
      auth_file = ${join(folder, "userlist.txt")}
      server_login_retry = 1
      pool_mode = ${options.poolMode}
      default_pool_size = ${options.poolSize}`.replaceAll(/^ +/gm, ""),
  };
  const identity = process.getuid?.() === 0 ? { uid: ordinaryUser, gid: ordinaryUser } : {};
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content, { mode: 0o600 });
  for (const path of [folder, ...Object.keys(files).map((name) => join(folder, name))]) {
    if (identity.uid !== undefined) await chown(path, identity.uid, identity.gid);
  }
  const child = spawn("pgbouncer", [join(folder, "pgbouncer.ini")], {
    ...identity,
    env: { PATH: searchPath },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    log += chunk;
  });
  const ended = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", () => resolve());
  });
  const isReady = await pollUntil(() => answers(port), { timeoutMs: startTimeoutMs, intervalMs: 10 });
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true });
  };
  if (isReady !== undefined) return { port, [Symbol.asyncDispose]: stop };
  await stop();
  throw new Error(`PgBouncer did not start:\n${log}`);
}

function quote(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** @returns undefined if nothing listens yet */
function answers(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = dial(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(undefined));
  });
}
