import assert from "node:assert/strict";
import process from "node:process";
import { after, before, test } from "node:test";
import { endSession } from "../../scripts/lib/doctor/causes/sessions.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { type Connection, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { findStack } from "../../scripts/lib/stack/stack.ts";
import { append } from "../support/append.ts";
import { finds, isHealthy, repair } from "../support/doctor.ts";
import { startProgram } from "../support/run-script.ts";
import { bootstrapTestStack, silentRun, type TestStack, testConfig, withCluster } from "../support/stack.ts";

let stack: TestStack;
let admin: Connection;
before(async () => {
  stack = await withCluster();
  {
    await using early = openConnection(await stack.administrator());
    for (const setting of ["max_connections = 12", "max_prepared_transactions = 2"])
      await early.sql.unsafe(`alter system set ${setting}`);
  }
  await stopStack(await findStack(testConfig(stack.stackDir)), silentRun);
  await bootstrapTestStack(stack.stackDir);
  admin = openConnection(await stack.administrator(), { applicationName: "test" });
  await admin.sql`create table command_model.note (id int)`;
  await admin.sql`grant all on command_model.note to cqrs_app`;
});
after(async () => {
  await admin[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
});

/** Opens sessions, each in a pool of its own, until the server refuses one. */
async function openSessions(target: ConnectionTarget, count: number): Promise<AsyncDisposable> {
  const sessions: Connection[] = [];
  for (let opened = 0; opened < count; opened++) {
    const session = openConnection(target, { applicationName: "billing" });
    sessions.push(session);
    if (!(await isAccepted(session.sql))) break;
  }
  return {
    async [Symbol.asyncDispose]() {
      for (const session of sessions) await session[Symbol.asyncDispose]();
    },
  };
}

async function isAccepted(sql: Sql): Promise<boolean> {
  return await sql`select 1`.then(
    () => true,
    () => false,
  );
}

/** A server process ends some time after its client. */
async function awaitEnd(): Promise<void> {
  await awaitRows(
    () => admin.sql`
    select where not exists (select from pg_stat_activity where application_name = 'billing')`,
  );
}

async function awaitRows(read: () => Promise<readonly unknown[]>): Promise<void> {
  const rows = await pollUntil(async () => ((await read()).length > 0 ? true : undefined), {
    timeoutMs: 20_000,
    intervalMs: 10,
  });
  assert.ok(rows, "it happened in time");
}

const evidence = /\d+ connections of cqrs_user \(billing\) from 127\.0\.0\.1, \d+ of them idle/;

for (const [what, set, reset, cause, fix] of [
  [
    "the server",
    "select",
    "select",
    /^All 9 connections that applications may open/,
    /max_connections = 18 and restart/,
  ],
  [
    "the login",
    "alter role cqrs_user connection limit 2",
    "alter role cqrs_user connection limit -1",
    /^The role cqrs_user has as many/,
    /alter role "cqrs_user" connection limit -1/,
  ],
  [
    "the database",
    "alter database cqrs_db connection limit 3",
    "alter database cqrs_db connection limit -1",
    /^The database cqrs_db has as many/,
    /alter database "cqrs_db" connection limit -1/,
  ],
] as const) {
  test(`connections that are used up by the limit of ${what} are found, with who holds them`, async () => {
    await admin.sql.unsafe(set);
    {
      await using _sessions = await openSessions(await stack.application(), 12);
      const found = await finds("connections-exhausted", { evidence, fix }, stack);
      assert.match(found.cause, cause);
      assert.match(found.fix, /pg_terminate_backend/);
    }
    await awaitEnd();
    await admin.sql.unsafe(reset);
    await isHealthy(stack);
  });
}

test("connections that are used up to the last reserved one are found too", async () => {
  {
    await using _applications = await openSessions(await stack.application(), 12);
    await using _administrators = await openSessions(await stack.administrator(), 12);
    await finds("connections-exhausted", { evidence: /53300/, fix: /Stop an application/ }, stack);
  }
  await awaitEnd();
  await isHealthy(stack);
});

test("a transaction that hides the end of the log is found, and ending it fixes it", async () => {
  await using writer = openConnection(await stack.application(), { applicationName: "billing" });
  await using other = openConnection(await stack.application());
  await inTransaction(writer.sql, async (tx) => {
    await append(tx, {});
    await append(other.sql, {});
    await isHealthy(stack);
    const expected = { evidence: /cqrs_user \(billing\), pid \d+, idle in transaction/, fix: /pg_terminate_backend/ };
    await finds("log-held", expected, stack, { limits: { maxHeldSeconds: 0 } });
  });
  await isHealthy(stack, { limits: { maxHeldSeconds: 0 } });
});

const atOnce = { limits: { maxBlockedSeconds: 0 } };

/** Waits until a session waits for a lock. */
async function awaitWaiting(): Promise<void> {
  await awaitRows(() => admin.sql`select from pg_locks where not granted and waitstart is not null`);
}

test("a session that is idle in a transaction, and one that works, are found when others wait for their lock", async () => {
  await using holder = openConnection(await stack.application(), { applicationName: "billing" });
  await using waiter = openConnection(await stack.application());
  let waiting: Promise<unknown> = Promise.resolve();
  await inTransaction(holder.sql, async (tx) => {
    await tx`lock table command_model.note`;
    waiting = waiter.sql`insert into command_model.note values (1)`.execute();
    await awaitWaiting();
    await isHealthy(stack);
    const idle = /^pid \d+, cqrs_user \(billing\), idle in transaction: 1 session waits/;
    const { cause } = await finds("lock-held", { evidence: idle, fix: /pg_terminate_backend\(\d+\)/ }, stack, atOnce);
    assert.match(cause, /^A session is idle in a transaction/);
    const sleeping = tx`select pg_sleep(3)`.execute();
    const active = /^pid \d+, cqrs_user \(billing\), active/;
    await awaitActive("billing");
    const working = await finds("lock-held", { evidence: active, fix: /pg_terminate_backend/ }, stack, atOnce);
    assert.match(working.cause, /^A session holds a lock/);
    await admin.sql`select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'billing'`;
    await assert.rejects(sleeping, /canceling statement/);
    throw new Error("enough");
  }).catch((error: Error) => assert.match(error.message, /enough/));
  await waiting;
  await isHealthy(stack, atOnce);
});

async function awaitActive(name: string): Promise<void> {
  await awaitRows(() => admin.sql`select from pg_stat_activity where application_name = ${name} and state = 'active'`);
}

test("a prepared transaction that holds a lock is found, and rolling it back fixes it", async () => {
  const session = await admin.sql.reserve();
  await session`begin`.simple();
  await session`lock table command_model.note`;
  await session`prepare transaction 'left behind'`.simple();
  session.release();
  await using waiter = openConnection(await stack.application());
  const waiting = waiter.sql`insert into command_model.note values (2)`.execute();
  await awaitWaiting();
  const expected = { evidence: /^a prepared transaction: 1 session waits/, fix: /rollback prepared/ };
  await finds("lock-held-by-prepared", expected, stack, atOnce);
  await admin.sql.unsafe("rollback prepared 'left behind'").simple();
  await waiting;
  await isHealthy(stack, atOnce);
});

const linuxOnly = process.platform === "linux" ? false : "only Linux shows that a client has closed its connection";

test("a session whose client was killed is found, and --fix ends it", { skip: linuxOnly }, async () => {
  const target = JSON.stringify(await stack.application());
  const holder = startProgram("tests/support/fixtures/hold-table-lock.ts", [target, "command_model.note"]);
  await holder.saw("locked");
  await awaitActive("doomed");
  await using waiter = openConnection(await stack.application());
  const waiting = waiter.sql`insert into command_model.note values (3)`.execute();
  await awaitWaiting();
  await finds("lock-held", { evidence: /doomed/, fix: /pg_terminate_backend/ }, stack, atOnce);
  holder.kill("SIGKILL");
  await holder.ended;
  const expected = { evidence: /\(doomed\), active.*; its client has closed/, fix: /pg_terminate_backend/ };
  await finds("lock-held-by-dead-client", expected, stack, atOnce);
  const { repair: stale } = await finds("lock-held-by-dead-client", expected, stack, atOnce);
  await repair(stack, atOnce);
  await waiting;
  await isHealthy(stack, atOnce);
  await assert.rejects(stale?.run() ?? Promise.resolve(), /The session of pid \d+ is over, so nothing was ended/);
});

test("only the session that was diagnosed is ended, not a later one with its pid", async () => {
  await using session = openConnection(await stack.application());
  const [own] = await session.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const [live] = await admin.sql<Ended[]>`
    select pid, extract(epoch from backend_start)::text as "startedAt", client_port as "clientPort"
    from pg_stat_activity where pid = ${own?.pid ?? 0}`;
  assert.ok(live);
  const startedAt = `${Number(live.startedAt) - 60}`;
  for (const other of [{ startedAt }, { clientPort: (live.clientPort ?? 0) + 1 }, { startedAt: null }])
    await assert.rejects(endSession(admin.sql, { ...live, ...other }), /is over/);
  assert.deepEqual((await session.sql`select pg_backend_pid() as pid`)[0], { pid: live.pid });
  await endSession(admin.sql, live);
  await awaitRows(() => admin.sql`select where not exists (select from pg_stat_activity where pid = ${live.pid})`);
});

type Ended = Parameters<typeof endSession>[1];
