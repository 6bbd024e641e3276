import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { loadConfig } from "../config.ts";
import { type Connection, openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { reconcilePassword } from "../postgres/logins/login.ts";
import { readSystemIdentifier, removeLeftovers } from "../postgres/server/cluster.ts";
import { stopServer } from "../postgres/server/life-cycle.ts";
import { isPortFree } from "../postgres/server/port.ts";
import { findPostmaster } from "../postgres/server/postmaster.ts";
import type { ConnectionTarget, SessionTarget } from "../postgres/target.ts";
import { ensureApplicationSecret } from "../secrets/application-secret.ts";
import { openSession } from "../stack/administrator.ts";
import { startEmbeddedServer } from "../stack/embedded.ts";
import { findClusterProblem } from "../stack/identity.ts";
import { readLoginPair, reconcileLogins } from "../stack/login-pair.ts";
import {
  administratorTarget,
  applicationTarget,
  findStack,
  lockForRun,
  type RunContext,
  type Stack,
  waitLimit,
} from "../stack/stack.ts";
import { removeState } from "../stack/state.ts";

/** The server of the tests, and its logins. */
export interface TestServer {
  readonly stack: Stack;
  readonly administrator: SessionTarget;
  readonly application: ConnectionTarget & { readonly password: string };
}

/** What a test database is worth: nothing. So the server never waits for the disk. */
const settings = `
# For tests.
max_connections = 300
superuser_reserved_connections = 20
fsync = off
full_page_writes = off
synchronous_commit = off
`;

/**
 * Opens the stack of the test cluster. Nothing but the folder decides which server it is: neither the environment nor
 * `.env` is read, so that DATABASE_URL, PGHOST or CQRS_MODE cannot lead to another one.
 *
 * @param timeoutMs the time limit of each wait; @default 60 seconds
 */
export function openTestCluster(stackDir: string, timeoutMs?: number): Promise<Stack> {
  const environment = { CQRS_STACK_DIR: join(stackDir, "test"), CQRS_MODE: "embedded", CQRS_SECRETS: "file" };
  const config = loadConfig({}, { environment, dotEnvFile: null });
  return findStack(timeoutMs === undefined ? config : { ...config, timeoutMs });
}

/** Marks the folder of a test server: nothing else may be overwritten or deleted in its place. */
function markerFile({ stackDir }: Stack): string {
  return join(stackDir, "only-for-tests");
}

/** Whether there is a cluster that was made for tests, running or not. */
export function hasTestCluster(stack: Stack): boolean {
  return existsSync(stack.dataDir) && existsSync(markerFile(stack));
}

/** @throws {ScriptError} `NOT_A_TEST_SERVER` (exit 8) if the folder has the cluster of another stack */
function refuseOtherStack(stack: Stack): void {
  if (!existsSync(stack.dataDir) || hasTestCluster(stack)) return;
  throw new ScriptError({
    code: "NOT_A_TEST_SERVER",
    exitCode: exitCodes.refused,
    message: `${stack.dataDir} is not a cluster for tests`,
    why: "Another stack uses the folder, as its CQRS_STACK_DIR. Nothing in it was changed.",
    fix: "Set CQRS_STACK_DIR of one of the two to another folder.",
  });
}

/** @returns the running test server; undefined if it is not running, or was not set up completely */
export async function findTestServer(stackDir: string): Promise<TestServer | undefined> {
  const stack = await openTestCluster(stackDir);
  refuseOtherStack(stack);
  try {
    return await describeServer(stack, await administratorTarget(stack));
  } catch (error) {
    if (error instanceof ScriptError && ["NOT_RUNNING", "SECRETS_MISSING"].includes(error.code)) return undefined;
    throw error;
  }
}

async function describeServer(stack: Stack, { searchPath: _, ...own }: SessionTarget): Promise<TestServer> {
  const { password, user } = await applicationTarget(stack);
  const administrator = { ...own, database: "postgres" };
  const { requireScram: __, ...target } = own;
  return { stack, administrator, application: { ...target, user, password } };
}

/**
 * Opens a session of the superuser, in the database `postgres`.
 *
 * @throws {ScriptError} `NOT_A_TEST_SERVER` (exit 8) if the server is not that of the cluster in the test folder
 */
export async function openServer({ administrator, stack }: TestServer): Promise<Connection> {
  const connection = openConnection(administrator, { applicationName: "cqrs-postgres testing" });
  try {
    const [row] = await connection.sql<{ id: string }[]>`
      select system_identifier::text as id from pg_catalog.pg_control_system()`;
    if (row?.id !== (await readSystemIdentifier(stack.dataDir))) throw notATestServer(administrator, stack);
    return connection;
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

/** Starts the test server, or creates it. The caller holds the lock of its stack. */
export async function startTestServer(stackDir: string, run: RunContext): Promise<TestServer> {
  const stack = await openTestCluster(stackDir);
  refuseOtherStack(stack);
  await writeFile(markerFile(stack), "Created by createTestStore(). It may be deleted at any time.\n");
  if (!(await isRunning(stack))) run.reporter.info(`starting the test server in ${stack.stackDir}`);
  // For example, the files are those of a copied project's original.
  const isForeign = (await findClusterProblem(stack)) !== undefined;
  if (isForeign || (await mayBeCorrupt(stack))) await discardCluster(stack, run);
  try {
    return await start(stackDir, run);
  } catch (error) {
    if (!isBeyondRepair(error)) throw error;
    run.reporter.info(`creating the test server again: ${(error as Error).message}`);
    await discardCluster(stack, run);
    return await start(stackDir, run);
  }
}

/** Failures of the cluster itself. All others, such as a full disk, would meet a new cluster as well. */
function isBeyondRepair(error: unknown): boolean {
  const codes = ["SERVER_FAILED", "CLUSTER_FAILED", "DATA_VERSION", "AUTHENTICATION"];
  return error instanceof ScriptError && codes.includes(error.code);
}

async function start(stackDir: string, run: RunContext): Promise<TestServer> {
  const stack = await withFreePort(await openTestCluster(stackDir));
  const step = async (_name: string, work: () => Promise<unknown>) => void (await work());
  const target = await startEmbeddedServer(stack, { ...run, step }, settings);
  await using connection = openConnection({ ...target, database: "postgres" }, { signal: run.signal });
  await setUpApplication(connection.sql, stack, target);
  return await describeServer(await openTestCluster(stackDir), target);
}

/** Nobody has the port of the test server in a setting, so it moves if another program has taken it. */
async function withFreePort(stack: Stack): Promise<Stack> {
  const { remembered, dataDir } = stack;
  if (remembered?.port === undefined || (await isRunning(stack)) || (await isPortFree(remembered.port))) return stack;
  const { port: _, ...others } = remembered;
  await rm(join(dataDir, "postgresql.conf"), { force: true });
  return { ...stack, remembered: others };
}

async function isRunning({ dataDir }: Stack): Promise<boolean> {
  return (await findPostmaster(dataDir)).state === "running";
}

/** The application's role and credentials, as `bootstrap` makes them. */
async function setUpApplication(sql: Sql, stack: Stack, target: ConnectionTarget): Promise<void> {
  const session = await openSession(sql);
  await reconcileLogins(session, await readLoginPair(stack), stack.config.graceMs);
  const { host, port } = target;
  const endpoint = { host, port, database: stack.database, username: stack.user };
  const { secret } = await ensureApplicationSecret(stack.secrets, endpoint);
  const { username: user, password } = secret;
  await reconcilePassword(session.sql, session.administrator, { ...target, user, password });
}

/**
 * Whether the machine went down while the server was running: without fsync, its files may be damaged in ways that it
 * does not notice.
 */
async function mayBeCorrupt(stack: Stack): Promise<boolean> {
  if (await isRunning(stack)) return false;
  const content = await readFile(join(stack.dataDir, "postmaster.pid"), "utf8").catch(() => "");
  const startedAt = Number(content.split("\n")[2]);
  return content !== "" && startedAt < Date.now() / 1000 - uptime();
}

/** Stops the test server and deletes its cluster. The caller holds the lock of its stack. */
async function discardCluster(stack: Stack, run: RunContext): Promise<void> {
  if (!existsSync(stack.dataDir)) return;
  await stopServer(stack.dataDir, waitLimit(stack, run));
  // A leftover first, so that half a cluster is never mistaken for a whole one.
  await rename(stack.dataDir, `${stack.dataDir}.tmp-${randomUUID().slice(0, 8)}`);
  await removeState(stack.stackDir);
  await removeLeftovers(stack.dataDir);
}

/** @returns the pid of the test server that was stopped; undefined if it was not running */
export async function stopTestCluster(stack: Stack, run: RunContext): Promise<number | undefined> {
  if (!hasTestCluster(stack)) return undefined;
  using _lock = await lockForRun(stack, run, "stop");
  return await stopServer(stack.dataDir, waitLimit(stack, run));
}

/** Stops the test server, and deletes its cluster and secrets. */
export async function destroyTestCluster(stack: Stack, run: RunContext): Promise<void> {
  using _lock = await lockForRun(stack, run, "destroy");
  await discardCluster(stack, run);
  await rm(join(stack.stackDir, "secrets"), { recursive: true, force: true });
}

function notATestServer({ port }: ConnectionTarget, { dataDir }: Stack): ScriptError {
  return new ScriptError({
    code: "NOT_A_TEST_SERVER",
    exitCode: exitCodes.refused,
    message: `The server on port ${port} is not the one of the tests`,
    why: `Its system identifier differs from that of ${dataDir}. Nothing in it was changed.`,
    fix: `Stop the servers of both, then delete ${dataDir}: it contains only databases of tests.`,
  });
}
