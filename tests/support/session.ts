import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { type Connection, type ConnectionOptions, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { type TestDatabase, withDatabase } from "./database.ts";
import { type FaultProxy, openFaultProxy } from "./fault-proxy.ts";

/** A database with a table `notes`, and a proxy in front of it. */
export interface Ground extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly proxy: FaultProxy;
  /** A pool that does not use the proxy. */
  readonly admin: Sql;
  /** Leads through the proxy. */
  readonly target: ConnectionTarget;
  /** Opens a pool that uses the proxy. */
  open(options?: ConnectionOptions): Connection;
  /** Empties the table. */
  clear(): Promise<void>;
  /** The ids in the table, in ascending order. */
  notes(): Promise<number[]>;
}

/** How long a call may take that must not hang: a limit that ends only what does, however busy the machine is. */
const patienceMs = 30_000;
/** Longer than that, so that the connect timeout does not end what hangs. */
export const longConnectSeconds = 60;
/** Less than the five seconds after which disposing of a pool ends its sessions by force. */
export const beforeForceMs = 4_000;

/** The codes of an error about a connection that was cut. */
export const cutCodes: readonly string[] = ["CONNECTION_CLOSED", "ECONNRESET", "EPIPE"];

/** Opens a ground for the tests of a file, clears it before each of them, and closes it at the end. */
export function useGround(): Ground {
  const ground = {} as Ground;
  before(async () => {
    Object.assign(ground, await openGround());
  });
  beforeEach(() => ground.clear());
  afterEach(settle);
  after(() => ground[Symbol.asyncDispose]());
  return ground;
}

/** Creates the database and opens the proxy. */
async function openGround(): Promise<Ground> {
  const database = await withDatabase({ isEmpty: true });
  const proxy = await openFaultProxy(database.administrator.port);
  const target = { ...database.administrator, port: proxy.port };
  const { admin } = database;
  await admin.unsafe("create table notes (id integer primary key, text text)");
  return {
    database,
    proxy,
    admin,
    target,
    open: (options) => openConnection(target, { connectTimeoutSeconds: longConnectSeconds, ...options }),
    async clear() {
      await admin`truncate notes`;
    },
    async notes() {
      const rows = await admin<{ id: number }[]>`select id from notes order by id`;
      return rows.map(({ id }) => id);
    },
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** @throws {Error} if the promise does not settle in time */
export async function inTime<Result>(promise: PromiseLike<Result>, ms = patienceMs): Promise<Result> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`nothing happened within ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** An error of the server, the network or the driver. */
export type CodedError = Error & { readonly code?: string };

/** @returns the error that the promise rejects with; it must do so in time */
export async function failureOf(promise: PromiseLike<unknown>, ms = patienceMs): Promise<CodedError> {
  const outcome = await inTime(
    promise.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    ),
    ms,
  );
  if (!("error" in outcome)) assert.fail(`it succeeded: ${describe(outcome.value)}`);
  return outcome.error as CodedError;
}

/** @returns the code of the error that the promise rejects with; it must do so in time */
export async function codeOf(promise: PromiseLike<unknown>, ms = patienceMs): Promise<string | undefined> {
  const { code, message } = await failureOf(promise, ms);
  return code ?? message;
}

/** Fails unless the code is one of these. */
export function assertCode(code: string | undefined, codes: readonly string[]): void {
  assert.ok(codes.includes(code ?? ""), `${code} is not one of ${codes.join(", ")}`);
}

/** The process of the server that the session of a transaction, reservation or pool of one talks to. */
export async function backendOf(sql: Sql): Promise<number> {
  const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return row?.pid ?? 0;
}

/** Ends a session, and waits until it has ended. */
export async function terminate(admin: Sql, pid: number): Promise<void> {
  const [row] = await admin<{ done: boolean }[]>`select pg_terminate_backend(${pid}, ${patienceMs}) as done`;
  assert.equal(row?.done, true);
}

/** Waits until a statement with this text is being executed. */
export async function running(admin: Sql, text: string): Promise<number> {
  let pid = 0;
  await until(async () => {
    const [row] = await admin<{ pid: number }[]>`
      select pid from pg_stat_activity
       where state = 'active' and wait_event = 'PgSleep' and query like ${`%${text}%`} and pid <> pg_backend_pid()`;
    pid = row?.pid ?? 0;
    return pid > 0;
  });
  return pid;
}

/** Waits until the server no longer has this session. */
export function gone(admin: Sql, pid: number): Promise<void> {
  return until(async () => (await admin`select from pg_stat_activity where pid = ${pid}`).length === 0);
}

/** Waits for a condition. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + patienceMs; !(await check()); await sleep(5)) {
    if (Date.now() > deadline) assert.fail("the condition was not met in time");
  }
}

/** Lets all that is pending run: an exception that nobody caught then fails the current test, on every runtime. */
export async function settle(): Promise<void> {
  await sleep(20);
  // What arrived while this process was suspended.
  await turn();
  await turn();
}

function describe(value: unknown): string {
  return JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? String(item) : item)) ?? String(value);
}
