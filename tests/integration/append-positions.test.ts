import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { type AppendResult, appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";

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

async function checkResults(results: readonly AppendResult[]): Promise<void> {
  const rows = await database.sql<{ id: string; aggregateVersion: number; position: bigint; streamId: string }[]>`
    select event_id as id, aggregate_version as "aggregateVersion", global_position as position, stream_id as "streamId"
    from event_store.domain_event`;
  const stored = new Map(rows.map(({ streamId, ...event }) => [event.id, [streamId, event]]));
  for (const { streamId, firstVersion, lastVersion, lastPosition, events } of results) {
    for (const event of events) assert.deepEqual([streamId, event], stored.get(event.id));
    assert.deepEqual([events[0]?.aggregateVersion, events.at(-1)?.aggregateVersion], [firstVersion, lastVersion]);
    assert.equal(events.at(-1)?.position, lastPosition);
  }
}

test("an append returns the id, version and position of each event, however many appends draw positions at once", async () => {
  await using second = openTestStore(database);
  const stores = [store, second];
  let isInterleaved = false;
  for (let round = 0; round < 100 && !isInterleaved; round++) {
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        appendEvents(stores[index % 2] as EventStore, newOrder(), Array<OrderEvent>(200).fill(orderPlaced)),
      ),
    );
    await checkResults(results);
    isInterleaved = results.some(({ events }) => lastOf(events) - firstOf(events) > BigInt(events.length - 1));
  }
  assert.ok(isInterleaved, "the positions of one append are not contiguous");
});

type Events = AppendResult["events"];
const firstOf = (events: Events) => events[0]?.position ?? 0n;
const lastOf = (events: Events) => events.at(-1)?.position ?? 0n;

test("a duplicate returns where its events are, and so does an append beside a refused one", async () => {
  const order = newOrder();
  const events = [orderPlaced, orderPlaced].map((event) => ({ ...event, id: randomUUID().toUpperCase() }));
  const results = await Promise.all([
    appendEvents(store, newOrder(), [orderPlaced]),
    appendEvents(store, order, [...events, orderPlaced]),
    appendEvents(store, order, events),
    appendEvents(store, order, [orderPlaced]),
    appendEvents(store, newOrder(), [orderPlaced]),
  ]);
  await assert.rejects(appendEvents(store, order, [orderPlaced], { expectedVersion: 17 }));
  assert.deepEqual(
    results.map(({ isDuplicate }) => isDuplicate),
    [false, false, true, false, false],
  );
  assert.deepEqual(results[2]?.events, results[1]?.events.slice(0, 2));
  await checkResults(results);
});

test("append_batch() returns the positions last, and null for a refused element", async () => {
  const id = randomUUID();
  const batch = JSON.stringify([
    { aggregate_type: "Order", aggregate_id: id, events: [event("A"), event("B")] },
    { aggregate_type: "Order", aggregate_id: id, expected_version: 9, events: [event("C")] },
    { aggregate_type: "Order", aggregate_id: randomUUID(), events: [event("D")] },
  ]);
  const rows = await database.sql`
    select positions::text, last_position::text from event_store.append_batch(${batch}::text::jsonb)`;
  const columns = await database.sql`select * from event_store.append_batch('[]')`;
  assert.equal(columns.columns.at(-1)?.name, "positions");
  assert.equal(rows[0]?.["positions"].endsWith(`,${rows[0]?.["last_position"]}}`), true);
  assert.equal(rows[1]?.["positions"], null);
  assert.equal(rows[2]?.["positions"], `{${rows[2]?.["last_position"]}}`);
});

function event(type: string): object {
  return { event_type: type, event_data: {} };
}
