// The whole server crashes: kill -9 of one of its processes ends every session.
import assert from "node:assert/strict";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { assertCode, backendOf, codeOf, cutCodes, inTime, settle, until } from "../support/session.ts";
import { type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
let target: ConnectionTarget;
before(async () => {
  stack = await withCluster();
  target = await stack.administrator();
});
after(() => stack[Symbol.asyncDispose]());

const killedCodes = ["57P02", "57P01", ...cutCodes];
/** Refusals of a server that is being restarted. */
const awayCodes = [...killedCodes, "57P03", "ECONNREFUSED"];

/** The first answer of the server after its recovery. */
async function answer(sql: Sql): Promise<unknown> {
  for (const deadline = Date.now() + 60_000; ; await sleep(20)) {
    try {
      return (await inTime(sql`select 7 as n`))[0]?.["n"];
    } catch (error) {
      assertCode((error as { code?: string }).code, Date.now() < deadline ? awayCodes : []);
    }
  }
}

/** @returns how many sessions are in `pg_sleep()` */
async function sleeping(): Promise<number> {
  await using admin = openConnection(target);
  return (await admin.sql`select from pg_stat_activity where wait_event = 'PgSleep'`).length;
}

test("a killed backend ends every session, and the pool is usable once the server is", async () => {
  await using pool = openConnection(target, { max: 4 });
  const victim = Promise.withResolvers<number>();
  const created = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const idle = inTransaction(pool.sql, async (tx) => {
    victim.resolve(await backendOf(tx));
    await gate.promise;
    return { code: await codeOf(tx`select 1`) };
  });
  const committing = inTransaction(pool.sql, async (tx) => {
    await tx`create table lost (id integer)`;
    created.resolve();
    await gate.promise;
  });
  const busy = [codeOf(pool.sql`select pg_sleep(100)`), codeOf(pool.sql`select pg_sleep(100)`)];
  const outcomes = [codeOf(idle), codeOf(committing), ...busy];
  await created.promise;
  await until(async () => (await sleeping()) === 2);
  process.kill(await victim.promise, "SIGKILL");
  await Promise.all(busy);
  gate.resolve();
  for (const code of await Promise.all(outcomes)) assertCode(code, killedCodes);
  assert.equal(await answer(pool.sql), 7);
  assert.equal((await pool.sql`select to_regclass('lost') as name`)[0]?.["name"], null);
  await settle();
});

test("a killed postmaster ends every session, and each statement after it fails at once", async () => {
  await using pool = openConnection(target, { max: 2 });
  const pid = await backendOf(pool.sql);
  const busy = codeOf(pool.sql`select pg_sleep(100)`);
  const server = await findPostmaster(stack.dataDir);
  assert.equal(server.state, "running");
  if (server.state !== "running") return;
  process.kill(server.pid, "SIGKILL");
  process.kill(pid, "SIGKILL");
  assertCode(await busy, awayCodes);
  for (let times = 0; times < 3; times++) assertCode(await codeOf(pool.sql`select 1`), awayCodes);
  await settle();
});
