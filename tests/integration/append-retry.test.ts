import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { DuplicateEvent } from "../../scripts/lib/event-store/errors.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { appendBatch, element, type Given, given, type Refusal, refusal } from "../support/append-input.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";

let database: TestDatabase;
let store: EventStore;
before(async () => {
  database = await withDatabase();
  store = openTestStore(database);
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

interface SqlEvent {
  readonly event_id: string;
  readonly event_type: string;
  readonly event_data: unknown;
}

/** Two events, which are appended first. */
function twoEvents(): [SqlEvent, SqlEvent] {
  return [
    { event_id: randomUUID(), event_type: "Placed", event_data: { total: 1, lines: [] } },
    { event_id: randomUUID(), event_type: "Paid", event_data: { amount: 2 } },
  ];
}

/** Appends two events, then again with the second changed. @returns the given append, and the rows of the second */
async function appendTwice(change: object) {
  const [first, second] = twoEvents();
  const original = given({ expected: null, events: JSON.stringify([first, second]) });
  await append(original);
  return await retry({ ...original, events: JSON.stringify([first, { ...second, ...change }]) });
}

interface AppendRow {
  readonly first_version: number;
  readonly deduplicated: boolean;
}

async function append({ type, id, expected, events }: Given): Promise<AppendRow | undefined> {
  const [row] = await database.sql<AppendRow[]>`
    select * from event_store.append(
      event_store.stream_id_of(${type}, ${id}), ${type}, ${id}, ${expected}, ${events}::text::jsonb)`;
  return row;
}

/** Retries by both functions, which must agree. */
async function retry(again: Given): Promise<{ readonly id: string; readonly outcome: string }> {
  const id = again.id ?? "";
  const outcome = await append(again).then(
    (row) => (row?.deduplicated === true && row.first_version === 1 ? "duplicate" : "appended"),
    (error: Refusal) => `${error.code}: ${error.message}`,
  );
  const [answer] = await appendBatch(database.sql, [element(again)]);
  const { sqlstate = "", message = "", first_version = 0 } = answer ?? {};
  assert.equal(sqlstate === null && first_version === 1 ? "duplicate" : `${sqlstate}: ${message}`, outcome);
  return { id, outcome };
}

const others: readonly (readonly [string, object, string])[] = [
  ["type", { event_type: "Refunded" }, "event_type"],
  ["type in another case", { event_type: "paid" }, "event_type"],
  ["schema version", { event_version: 2 }, "event_version"],
  ["data", { event_data: { amount: 3 } }, "event_data"],
  ["data with one more key", { event_data: { amount: 2, note: null } }, "event_data"],
  ["data of another type", { event_data: { amount: "2" } }, "event_data"],
];
for (const [what, change, key] of others) {
  test(`a known event id with another ${what} is refused with UE004`, async () => {
    const { id, outcome } = await appendTwice(change);
    const message = `event 2 of the append is already stored in the stream of Order ${id}, with another ${key}`;
    assert.equal(outcome, `UE004: ${message}`);
  });
}

const sames: readonly (readonly [string, object])[] = [
  ["nothing", {}],
  ["the metadata", { metadata: { trace: 7 } }],
  ["the causation and correlation ids", { causation_id: randomUUID(), correlation_id: randomUUID() }],
  ["the explicit default version", { event_version: 1 }],
];
for (const [what, change] of sames) {
  test(`a retry that changes ${what} is recognised`, async () => {
    assert.equal((await appendTwice(change)).outcome, "duplicate");
  });
}

test("a retry is recognised in another form of the same JSON", async () => {
  const [first, second] = twoEvents();
  const original = given({ expected: 0, events: JSON.stringify([first, second]) });
  await append(original);
  const data = '{"lines":[ ], "total":1.00}';
  const events = `[{"event_type":"Placed","event_id":"${first.event_id.toUpperCase()}","event_data":${data}},${JSON.stringify(second)}]`;
  assert.equal((await retry({ ...original, events })).outcome, "duplicate");
});

test("a retry of a redacted event is recognised by its id and type", async () => {
  const [first, second] = twoEvents();
  const original = given({ expected: 0, events: JSON.stringify([first, second]) });
  await append(original);
  await database.admin`select event_store.redact_event('Order', ${original.id}, 2, 'erasure')`;
  assert.equal((await retry(original)).outcome, "duplicate");
  const otherData = { ...second, event_data: { amount: 9 } };
  assert.equal((await retry({ ...original, events: JSON.stringify([first, otherData]) })).outcome, "duplicate");
  const otherType = { ...second, event_type: "Refunded" };
  const { outcome } = await retry({ ...original, events: JSON.stringify([first, otherType]) });
  assert.match(outcome, /^UE004: event 2 .*with another event_type$/);
  const otherFirst = { ...first, event_data: { total: 2 } };
  assert.match(
    (await retry({ ...original, events: JSON.stringify([otherFirst, second]) })).outcome,
    /^UE004: event 1 .*with another event_data$/,
  );
});

test("another event with a known id is refused in an archived stream, and in the middle of a stored batch", async () => {
  const [first, second] = twoEvents();
  const original = given({ expected: 0, events: JSON.stringify([first, second]) });
  await append(original);
  await database.sql`select event_store.archive_stream('Order', ${original.id})`;
  const middle = { ...original, events: JSON.stringify([second]) };
  assert.equal((await append(middle))?.first_version, 2);
  const other = { ...original, events: JSON.stringify([{ ...second, event_data: {} }]) };
  const error = await refusal(append(other));
  assert.equal(error.code, "UE004");
  assert.deepEqual(JSON.parse(error.detail), {
    expected: 0,
    actual: 2,
    aggregate_type: "Order",
    aggregate_id: original.id,
  });
});

test("appendEvents() throws DuplicateEvent for another event with a known id, alone or in a transaction", async () => {
  const [order, id] = [newOrder(), randomUUID()];
  const placed = { id, type: "Placed", data: { at: new Date(0) } };
  await appendEvents(store, order, [placed]);
  const retried = await appendEvents(store, order, [{ ...placed, metadata: { attempt: 2 } }]);
  assert.deepEqual([retried.isDuplicate, retried.firstVersion], [true, 1]);
  for (const other of [
    { id, type: "Other", data: { n: 2 } },
    { ...placed, data: { at: new Date(1) } },
    { ...placed, version: 2 },
  ]) {
    const isRefused = (error: DuplicateEvent) =>
      error instanceof DuplicateEvent &&
      error.code === "UE004" &&
      /event 1 of the append is already/.test(error.message);
    await assert.rejects(appendEvents(store, order, [other]), isRefused);
    await store.sql.begin((transaction) =>
      assert.rejects(appendEvents(store, order, [other], { transaction }), isRefused),
    );
  }
});
