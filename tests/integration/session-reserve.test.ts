import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import {
  assertCode,
  backendOf,
  beforeForceMs,
  codeOf,
  cutCodes,
  failureOf,
  inTime,
  running,
  settle,
  terminate,
  useGround,
} from "../support/session.ts";

const ground = useGround();

type Reserved = Awaited<ReturnType<Sql["reserve"]>>;

async function use(reserved: Reserved): Promise<number> {
  const pid = await backendOf(reserved as unknown as Sql);
  reserved.release();
  return pid;
}

test("a pool that has not connected yet can reserve a session", async () => {
  await using pool = ground.open();
  const reserved = await inTime(pool.sql.reserve());
  const pids = [await backendOf(reserved as unknown as Sql), await backendOf(reserved as unknown as Sql)];
  assert.equal(pids[0], pids[1]);
  reserved.release();
  assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
});

test("five reservations share three sessions, one at a time", async () => {
  await using pool = ground.open({ max: 3 });
  let open = 0;
  const reserve = async () => {
    const reserved = await pool.sql.reserve();
    open++;
    assert.ok(open <= 3, `${open} at once`);
    const pid = await backendOf(reserved as unknown as Sql);
    await reserved`select pg_sleep(0.02)`;
    open--;
    reserved.release();
    return pid;
  };
  const pids = await inTime(Promise.all([1, 2, 3, 4, 5].map(reserve)));
  assert.ok(new Set(pids).size <= 3);
  assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
});

test("a reservation whose session ends refuses statements with the reason; the pool goes on", async () => {
  await using pool = ground.open();
  for (const isCut of [false, true]) {
    const reserved = await inTime(pool.sql.reserve());
    const pid = await backendOf(reserved as unknown as Sql);
    if (isCut) ground.proxy.cut();
    else await terminate(ground.admin, pid);
    for (let times = 0; times < 2; times++) assertCode(await codeOf(reserved`select 1`), isCut ? cutCodes : ["57P01"]);
    reserved.release();
    assert.notEqual(await inTime(use(await inTime(pool.sql.reserve()))), pid);
    assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
  }
});

test("a lost reservation that is never released does not block the pool", async () => {
  const pool = ground.open();
  const reserved = await inTime(pool.sql.reserve());
  await terminate(ground.admin, await backendOf(reserved as unknown as Sql));
  assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
  assert.equal(await codeOf(reserved`select 1`), "57P01");
  await inTime(pool[Symbol.asyncDispose](), beforeForceMs);
});

test("a reservation that waits while the session is lost gets the next session", async () => {
  await using pool = ground.open();
  for (const isCut of [false, true]) {
    const sleeping = codeOf(pool.sql`select pg_sleep(100)`);
    const pid = await running(ground.admin, "pg_sleep");
    const waiting = [pool.sql.reserve(), pool.sql.reserve()].map(async (reserved) => use(await reserved));
    await settle();
    if (isCut) ground.proxy.cut();
    else await terminate(ground.admin, pid);
    assertCode(await sleeping, isCut ? cutCodes : ["57P01"]);
    const pids = await inTime(Promise.all(waiting));
    assert.equal(pids.includes(pid), false);
    if (isCut) await terminate(ground.admin, pid);
  }
});

test("a reservation is refused after its release, also beside another one", async () => {
  await using pool = ground.open();
  const first = await inTime(pool.sql.reserve());
  await first`select 1`;
  const lazy = first`insert into notes values (1, 'late')`;
  first.release();
  first.release();
  const second = await inTime(pool.sql.reserve());
  await second`begin`;
  for (const use of [() => lazy, () => first`commit`, () => first.unsafe("insert into notes values (1, 'late')")]) {
    assert.equal(await codeOf(use()), "TRANSACTION_OVER");
  }
  await second`rollback`;
  second.release();
  assert.deepEqual(await ground.notes(), []);
});

for (const state of ["open", "failed"]) {
  test(`a reservation that is released in ${state === "open" ? "an" : "a"} ${state} transaction leaves nothing behind`, async () => {
    await using pool = ground.open();
    const reserved = await inTime(pool.sql.reserve());
    await reserved`begin`;
    await reserved`insert into notes values (1, 'not committed')`;
    if (state === "failed") await failureOf(reserved`select 1 / 0`);
    reserved.release();
    await inTime(pool.sql`insert into notes values (2, 'committed')`);
    assert.deepEqual(await ground.notes(), [2]);
  });
}

test("a reservation that waits is rejected when the pool ends", async () => {
  const pool = ground.open();
  const held = await inTime(pool.sql.reserve());
  const waiting = failureOf(pool.sql.reserve());
  await inTime(pool.sql.end({ timeout: 0 }));
  await waiting;
  await failureOf(held`select 1`);
  await failureOf(pool.sql`select 1`);
});
