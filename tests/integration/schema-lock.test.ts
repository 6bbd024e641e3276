import assert from "node:assert/strict";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ApplyResult } from "../../scripts/lib/schema/apply.ts";
import { withDatabase } from "../support/database.ts";
import { runForData } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { apply, type Files, failure, readLedger, tablesOf, withFiles } from "../support/schema-folder.ts";

/** The key of the lock, from its letters. */
const lockKey = `x'${Buffer.from("sche").toString("hex")}'::int, hashtext('')`;
const ordinary: Files = {
  "migrations/0001-first.sql": "create table public.first (id int);\n",
  "migrations/0002-second.sql": "alter table public.first add column name text;\n",
};

test("applySchema() waits while another session holds the lock, and names that session", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  const holder = openConnection(database.administrator, { applicationName: "the holder" });
  const [row] = await holder.sql.unsafe(`select pg_advisory_lock(${lockKey}), pg_backend_pid() as pid`);
  const waits: string[] = [];
  const { applied } = await apply(database.administrator, folder, {
    onWait: (who) => {
      waits.push(who);
      void holder[Symbol.asyncDispose]();
    },
  });
  assert.equal(applied.length, Object.keys(ordinary).length);
  assert.deepEqual(waits, [`session ${row?.["pid"]} (the holder, ${database.administrator.user})`]);
});

test("applySchema() fails with exit code 5 if the lock is not free in time, and names its holder", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  await using holder = openConnection(database.administrator, { applicationName: "the holder" });
  await holder.sql.unsafe(`select pg_advisory_lock(${lockKey})`);
  const error = await failure(apply(database.administrator, folder, { timeoutMs: 120 }));
  assert.deepEqual([error.code, error.exitCode], ["LOCKED", 5]);
  assert.match(error.why ?? "", /^session \d+ \(the holder, postgres\) held the lock for 120 ms\.$/);
  assert.match(error.fix ?? "", /pg_terminate_backend/);
  assert.deepEqual(await tablesOf(database.admin), []);
});

test("applySchema() needs no lock if nothing is pending", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  await apply(database.administrator, folder);
  await using holder = openConnection(database.administrator);
  await holder.sql.unsafe(`select pg_advisory_lock(${lockKey})`);
  assert.deepEqual((await apply(database.administrator, folder, { timeoutMs: 0 })).applied, []);
});

test("applySchema() stops waiting when its signal is aborted, and applies nothing", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  await using holder = openConnection(database.administrator);
  await holder.sql.unsafe(`select pg_advisory_lock(${lockKey})`);
  const controller = new AbortController();
  const work = apply(database.administrator, folder, { signal: controller.signal, onWait: () => controller.abort() });
  await assert.rejects(work, (error: Error) => error.name === "AbortError");
  assert.deepEqual(await tablesOf(database.admin), []);
});

test("20 concurrent processes of schema apply exit with 0, and each file is applied by one of them", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await using database = await withDatabase({ isEmpty: true });
    const words = ["schema", "apply", "--database", database.name];
    const runs = await Promise.all(Array.from({ length: 20 }, () => runForData<ApplyResult>(words, database)));
    const applied = runs.flatMap((run) => run.applied);
    assert.deepEqual(applied.toSorted(), await readLedger(database.admin));
    assert.equal(applied.length, runs[0]?.total);
    const once = await database.admin`select count(*)::int as count from event_store.event_stream`;
    assert.equal(once[0]?.["count"], 0);
  }
});
