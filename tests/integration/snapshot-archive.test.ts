import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { append, placed } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly detail: string;
}

async function refusal(query: Promise<unknown>): Promise<Refusal> {
  return query.then(
    () => assert.fail("it was not refused"),
    (error: Refusal) => error,
  );
}

async function appendOrder(count: number): Promise<string> {
  const id = randomUUID();
  await append(database.sql, { id, events: Array(count).fill(placed) });
  return id;
}

async function saveSnapshot(id: string, version: number, stateVersion: number, state: string): Promise<boolean> {
  const [row] = await database.sql<{ saved: boolean }[]>`
    select event_store.save_snapshot('Order', ${id}, ${version}, ${stateVersion}, ${state}::text::jsonb) as saved`;
  return row?.saved === true;
}

async function loadSnapshot(id: string, stateVersion: number): Promise<unknown[]> {
  const rows = await database.sql`select * from event_store.load_snapshot('Order', ${id}, ${stateVersion})`;
  return rows.map((row) => [row["aggregate_version"], row["state"]]);
}

test("save_snapshot() keeps the latest state of each state version, and load_snapshot() returns it", async () => {
  const id = await appendOrder(3);
  assert.deepEqual(await loadSnapshot(id, 1), []);
  assert.equal(await saveSnapshot(id, 2, 1, '{"total":84}'), true);
  assert.equal(await saveSnapshot(id, 1, 1, '{"total":42}'), false);
  assert.equal(await saveSnapshot(id, 2, 1, '{"total":0}'), false);
  assert.equal(await saveSnapshot(id, 3, 2, "[126]"), true);
  assert.deepEqual(await loadSnapshot(id, 1), [[2, { total: 84 }]]);
  assert.equal(await saveSnapshot(id, 3, 1, '{"total":126}'), true);
  assert.deepEqual(await loadSnapshot(id, 1), [[3, { total: 126 }]]);
  assert.deepEqual(await loadSnapshot(id, 2), [[3, [126]]]);
});

test("save_snapshot() refuses a version that the stream has not reached, and an invalid one", async () => {
  const id = await appendOrder(2);
  assert.equal((await refusal(saveSnapshot(id, 3, 1, "{}"))).code, "UE003");
  assert.equal((await refusal(saveSnapshot(randomUUID(), 1, 1, "{}"))).code, "UE003");
  assert.equal((await refusal(saveSnapshot(id, 0, 1, "{}"))).code, "UE007");
  assert.equal((await refusal(saveSnapshot(id, 1, 0, "{}"))).code, "UE007");
  assert.deepEqual(await loadSnapshot(id, 1), []);
});

test("the application cannot write to the table of snapshots directly", async () => {
  assert.equal((await refusal(database.sql`delete from event_store.snapshot`)).code, "42501");
});

test("archive_stream() closes a stream to new events; it can be read and archived once more", async () => {
  const id = await appendOrder(2);
  const [first] = await database.sql`select event_store.archive_stream('Order', ${id}, 2) as version`;
  const [again] = await database.sql`select event_store.archive_stream('Order', ${id}) as version`;
  assert.deepEqual([first?.["version"], again?.["version"]], [2, 2]);
  for (const expected of [null, 2, -4, 0, 1]) {
    const error = await refusal(append(database.sql, { id, expected }));
    assert.equal(error.code, "UE005", `expected ${expected}`);
    assert.equal(error.message, `the stream of Order ${id} is archived`);
    assert.deepEqual(JSON.parse(error.detail), { expected, actual: 2, aggregate_type: "Order", aggregate_id: id });
  }
  const events = await database.sql`select from event_store.read_stream('Order', ${id})`;
  assert.equal(events.length, 2);
});

test("archive_stream() refuses an unexpected version with UE001, and a missing stream with UE003", async () => {
  const id = await appendOrder(2);
  const error = await refusal(database.sql`select event_store.archive_stream('Order', ${id}, 1)`);
  assert.equal(error.code, "UE001");
  assert.deepEqual(JSON.parse(error.detail), { expected: 1, actual: 2, aggregate_type: "Order", aggregate_id: id });
  await append(database.sql, { id });
  assert.equal(
    (await refusal(database.sql`select event_store.archive_stream('Order', ${randomUUID()})`)).code,
    "UE003",
  );
});

test("the owner can reopen an archived stream", async () => {
  const id = await appendOrder(1);
  await database.sql`select event_store.archive_stream('Order', ${id})`;
  await database.admin`update event_store.event_stream set archived_at = null where aggregate_id = ${id}`;
  await append(database.sql, { id, expected: 1 });
});
