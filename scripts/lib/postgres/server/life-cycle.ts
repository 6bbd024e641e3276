import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { mkdir, open, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { portTaken, timedOut } from "../../cli/errors.ts";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { isAlive } from "../../process.ts";
import { pollUntil, type WaitLimit } from "../../retry.ts";
import { openConnection } from "../connect.ts";
import { explainConnectionError } from "../explain.ts";
import { type ConnectionFailure, connectionFailure, errorCode } from "../failure.ts";
import { type ServerAccount, serverEnvironment } from "./account.ts";
import {
  type EmbeddedServer,
  findDiskFull,
  readSystemIdentifier,
  resetSuperuserPassword,
  superuser,
  writeSettings,
} from "./cluster.ts";
import { identifyListener, isPortFree } from "./port.ts";
import { findPostmaster, type Postmaster, readPostmaster } from "./postmaster.ts";
import { readLogSinceStart } from "./start-failure.ts";

/** A running server, and how it came to run. */
export type StartResult = Postmaster & { readonly how: "started" | "adopted"; readonly isPasswordReset: boolean };

const pollIntervalMs = 20;
const restartIntervalMs = 100;
const logFlushMs = 500;
const emptyPidFileMs = 500;
const logLines = 12;

/**
 * Ensures that the server is running and its superuser can log in. Adopts a running server; otherwise starts it.
 *
 * @param port the port to start on; a running server keeps its own
 * @throws {ScriptError} `PORT_TAKEN` (exit 9), `SERVER_FAILED` (exit 3) with the end of its log, `TIMEOUT` (exit 124)
 */
export async function ensureRunning(server: EmbeddedServer, port: number, wait: WaitLimit): Promise<StartResult> {
  const found = await findPostmaster(server.dataDir);
  const how = found.state === "running" ? "adopted" : "started";
  const postmaster = found.state === "running" ? found : await start(server, port, wait);
  if ((await awaitLogin(server, postmaster, wait)) === "ready") return { ...postmaster, how, isPasswordReset: false };
  await stopServer(server.dataDir, wait);
  await resetSuperuserPassword(server);
  const restarted = await start(server, postmaster.port, wait);
  if ((await awaitLogin(server, restarted, wait)) !== "ready") throw loginRefused(restarted.port);
  return { ...restarted, how, isPasswordReset: true };
}

/**
 * Stops the server of a data directory (fast shutdown): ends its sessions, flushes its data, and waits for its exit.
 *
 * @returns the pid that was stopped; undefined if no server was running
 * @throws {ScriptError} `TIMEOUT` (exit 124)
 */
export async function stopServer(dataDir: string, wait: WaitLimit): Promise<number | undefined> {
  const found = await findPostmaster(dataDir);
  if (found.state !== "running") return undefined;
  askToStop(found.pid);
  const pid = await pollUntil(() => (isAlive(found.pid) ? undefined : found.pid), {
    ...wait,
    intervalMs: pollIntervalMs,
  });
  if (pid === undefined) throw timedOut(`PostgreSQL (pid ${found.pid}) did not stop`, wait.timeoutMs);
  return pid;
}

function askToStop(pid: number): void {
  try {
    process.kill(pid, "SIGINT");
  } catch (error) {
    // It has exited in the meantime.
    if (errorCode(error) !== "ESRCH") throw error;
  }
}

async function start(server: EmbeddedServer, port: number, wait: WaitLimit): Promise<Postmaster> {
  if (!(await isPortFree(port))) throw serverPortTaken(port, await identifyListener(port));
  const restoreSettings = await writeSettings(server, port);
  try {
    return await startOn(server, port, wait);
  } catch (error) {
    await restoreSettings();
    throw error;
  }
}

async function startOn(server: EmbeddedServer, port: number, wait: WaitLimit): Promise<Postmaster> {
  const deadline = performance.now() + wait.timeoutMs;
  let log = "";
  const tryOnce = async () => {
    await removeStaleLocks(server.dataDir);
    const pid = await launch(server);
    const outcome = await awaitPostmaster(server.dataDir, pid, { ...wait, timeoutMs: deadline - performance.now() });
    if (outcome === "ready") return { pid, port };
    if (outcome === undefined) {
      throw timedOut("PostgreSQL did not become ready (it may still be recovering)", wait.timeoutMs);
    }
    log = await readFinalLog(server.dataDir, wait.signal);
    if (/could not bind .*: Permission denied/.test(log)) throw portDenied(port, server.account);
    // Another program took the port after it was found to be free.
    if (/could not bind .*: Address already in use/.test(log))
      throw serverPortTaken(port, await identifyListener(port));
    // The workers of a killed server hold its shared memory until they notice that it is gone.
    if (!log.includes("pre-existing shared memory block")) throw serverFailed(server, log);
    return undefined;
  };
  const postmaster = await pollUntil(tryOnce, { ...wait, intervalMs: restartIntervalMs });
  if (postmaster === undefined) throw serverFailed(server, log);
  return postmaster;
}

/** PostgreSQL refuses to start if a process has the pid from a lock file, even one that is not a server. */
async function removeStaleLocks(dataDir: string): Promise<void> {
  const found = await readPostmaster(dataDir);
  const file = join(dataDir, "postmaster.pid");
  if (found.state === "recycled" || (await remainsEmpty(file))) await rm(file, { force: true });
  const names = (await readdir(dataDir)).filter((name) => name.startsWith(".s.PGSQL."));
  for (const name of names) await rm(join(dataDir, name), { force: true });
}

/** A server that is being started writes its pid at once. The file stays empty if the disk was full, or power failed. */
async function remainsEmpty(file: string): Promise<boolean> {
  const isEmpty = async () => (await stat(file).catch(() => undefined))?.size === 0;
  if (!(await isEmpty())) return false;
  await sleep(emptyPidFileMs);
  return await isEmpty();
}

/** Starts the server in its own session, so that it survives this script, the terminal and Ctrl-C. */
async function launch({ dataDir, binaries, account }: EmbeddedServer): Promise<number> {
  const logDir = join(dataDir, "log");
  await mkdir(logDir, { recursive: true, mode: 0o700 });
  await using log = await open(join(logDir, "start.log"), "w", 0o600);
  const [program, ...args] = account.command(binaries.postgres, ["-D", realpathSync(dataDir)]);
  const child = spawn(program as string, args, {
    ...account.identity,
    detached: true,
    env: serverEnvironment,
    cwd: "/",
    stdio: ["ignore", log.fd, log.fd],
  });
  const pid = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => resolve(child.pid as number));
  });
  child.unref();
  return pid;
}

/** @returns undefined if the server is still starting after `timeoutMs` */
async function awaitPostmaster(dataDir: string, pid: number, limit: WaitLimit): Promise<"ready" | "ended" | undefined> {
  const probe = async () => {
    if (!isAlive(pid)) return "ended";
    const found = await readPostmaster(dataDir);
    const lines = (await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "")).split("\n");
    const isReady = found.state === "running" && found.pid === pid && /^(ready|standby)\s*$/.test(lines[7] ?? "");
    return isReady ? "ready" : undefined;
  };
  return await pollUntil(probe, { ...limit, intervalMs: pollIntervalMs });
}

async function awaitLogin(
  server: EmbeddedServer,
  postmaster: Postmaster,
  wait: WaitLimit,
): Promise<"ready" | "wrong-password"> {
  const tryOnce = async () => {
    const outcome = await tryLogin(server, postmaster);
    if (outcome === "ready" || outcome === "wrong-password") return outcome;
    if (!isAlive(postmaster.pid)) throw serverFailed(server, await readRecentLog(server.dataDir));
    return undefined;
  };
  const outcome = await pollUntil(tryOnce, { ...wait, intervalMs: pollIntervalMs });
  if (outcome === undefined) throw timedOut("PostgreSQL does not answer", wait.timeoutMs);
  return outcome;
}

/** Checks also that the server that answers on the port is the one of our data directory. */
async function tryLogin(server: EmbeddedServer, { port }: Postmaster): Promise<"ready" | ConnectionFailure> {
  const password = server.superuserPassword;
  const target = { host: "127.0.0.1", port, database: "postgres", user: superuser, password, requireScram: true };
  await using connection = openConnection(target);
  try {
    const [row] = await connection.sql<{ id: string }[]>`
      select system_identifier::text as id from pg_catalog.pg_control_system()`;
    if (row?.id === (await readSystemIdentifier(server.dataDir))) return "ready";
  } catch (error) {
    const failure = connectionFailure(error);
    if (failure === undefined || failure === "insecure") throw explainConnectionError(error, target);
    return failure;
  }
  throw serverPortTaken(port, "another PostgreSQL server");
}

/** A separate process writes the log, and may finish shortly after the server has exited. */
async function readFinalLog(dataDir: string, signal: AbortSignal | undefined): Promise<string> {
  const readIfFinal = async () => {
    const log = await readRecentLog(dataDir);
    return /FATAL|PANIC/.test(log) ? log : undefined;
  };
  const log = await pollUntil(readIfFinal, { timeoutMs: logFlushMs, intervalMs: pollIntervalMs, signal });
  return log ?? (await readRecentLog(dataDir));
}

async function readRecentLog(dataDir: string): Promise<string> {
  return (await readLogSinceStart(dataDir)).trimEnd().split("\n").slice(-logLines).join("\n");
}

/** Only what ends a server explains its end; a statement may have failed because of a disk that was full for a while. */
function findFatalDiskFull(log: string): ScriptError | undefined {
  return findDiskFull(log.replace(/^(?!.*(FATAL|PANIC|could not write to log file)).*$/gm, ""));
}

/**
 * A server that cannot write its log of transactions ends all sessions, which then report only that they were ended.
 *
 * @returns the error to throw in place of one of the connection
 */
export async function explainServerEnd(error: unknown, dataDir: string): Promise<unknown> {
  if (errorCode(error) !== "NOT_READY" && connectionFailure(error) === undefined) return error;
  return findFatalDiskFull(await readRecentLog(dataDir)) ?? error;
}

function serverFailed(server: EmbeddedServer, log: string): ScriptError {
  const full = findFatalDiskFull(log);
  if (full !== undefined) return full;
  return new ScriptError({
    code: "SERVER_FAILED",
    exitCode: exitCodes.notReady,
    message: `PostgreSQL ${server.binaries.version}, run as ${server.account.description}, exited during startup`,
    why: log.trim() || "It wrote no log.",
    fix: `Fix what its log reports (${join(server.dataDir, "log")}), then run this again.`,
  });
}

/** @returns the error of a stack's port that another program listens on (exit 9) */
export function serverPortTaken(port: number, holder: string): ScriptError {
  return portTaken({
    port,
    holder,
    why: "A stack keeps its port, because applications have it in their settings.",
    move: `run ${runLine("bootstrap")} --port <number>, which moves the stack to another port`,
  });
}

function portDenied(port: number, account: ServerAccount): ScriptError {
  return new ScriptError({
    code: "PORT_DENIED",
    exitCode: exitCodes.prerequisite,
    message: `PostgreSQL, run as ${account.description}, cannot listen on port ${port}`,
    why: "Ports below 1024 are reserved for root, and PostgreSQL refuses to run as root.",
    fix: `Run ${runLine("bootstrap")} --port <number> with a port of 1024 or above.`,
  });
}

function loginRefused(port: number): ScriptError {
  return new ScriptError({
    code: "AUTHENTICATION",
    exitCode: exitCodes.authentication,
    message: `The server on port ${port} rejects its superuser, although the password was just reset`,
    why: "The cause is not the password, but pg_hba.conf or the role postgres.",
    fix: "Check pg_hba.conf in the data directory, and the server's log.",
  });
}
