// The network drops everything: neither side learns that the other is gone.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionOptions } from "../../scripts/lib/postgres/connect.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { beforeForceMs, failureOf, inTime, running, terminate, useGround } from "../support/session.ts";

const ground = useGround();

/** Opens a pool with a session, on which the network is frozen while a statement is being executed. */
async function freeze(options: ConnectionOptions) {
  const pool = ground.open({ max: 1, ...options });
  const asleep = failureOf(pool.sql`select pg_sleep(100)`);
  const pid = await running(ground.admin, "pg_sleep");
  ground.proxy.freeze(true);
  const waiting = failureOf(inTransaction(pool.sql, async (tx) => tx`select 1`));
  return {
    pool,
    /** Both must reject. */
    outcome: () => Promise.all([asleep, waiting]),
    async thaw() {
      ground.proxy.freeze(false);
      ground.proxy.cut();
      await terminate(ground.admin, pid);
    },
  };
}

test("aborting the signal rejects a statement that hangs", async () => {
  const controller = new AbortController();
  const frozen = await freeze({ signal: controller.signal });
  controller.abort();
  await inTime(frozen.outcome());
  await failureOf(frozen.pool.sql`select 1`);
  await inTime(frozen.pool[Symbol.asyncDispose](), beforeForceMs);
  await frozen.thaw();
});

test("aborting the signal ends a transaction whose statement hangs, with the error of its callback", async () => {
  const controller = new AbortController();
  const pool = ground.open({ signal: controller.signal });
  const own = new Error("mine");
  const inside = inTransaction(pool.sql, async (tx) => {
    await tx`select 1`;
    ground.proxy.freeze(true);
    setTimeout(() => controller.abort(), 20);
    await failureOf(tx`select 2`);
    await failureOf(tx`select 3`);
    throw own;
  });
  assert.equal(await failureOf(inside), own);
  await inTime(pool[Symbol.asyncDispose](), beforeForceMs);
  ground.proxy.freeze(false);
  ground.proxy.cut();
});

test("aborting the signal rejects what waits for a session", async () => {
  const controller = new AbortController();
  ground.proxy.freeze(true);
  const pool = ground.open({ signal: controller.signal, max: 2 });
  const waiting = Promise.all([failureOf(pool.sql`select 1`), failureOf(pool.sql.reserve())]);
  setTimeout(() => controller.abort(), 20);
  await waiting;
  await inTime(pool[Symbol.asyncDispose](), beforeForceMs);
  ground.proxy.freeze(false);
});

test("ending a pool waits for a frozen server no longer than its timeout", async () => {
  const frozen = await freeze({});
  await inTime(frozen.pool.sql.end({ timeout: 0.2 }));
  await frozen.outcome();
  await frozen.thaw();
});

test("disposing of a pool whose server is frozen ends", async () => {
  const frozen = await freeze({});
  await inTime(frozen.pool[Symbol.asyncDispose]());
  await frozen.outcome();
  await frozen.thaw();
});

test("disposing of an idle pool whose server is frozen ends", async () => {
  const pool = ground.open({ max: 2 });
  await Promise.all([pool.sql`select 1`, pool.sql`select 2`]);
  ground.proxy.freeze(true);
  await inTime(pool[Symbol.asyncDispose]());
  ground.proxy.freeze(false);
});
