// Causation and correlation ids that are no UUIDs, such as the id of a request.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { decide } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { NewEvent, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openTestStore } from "../support/event-store.ts";

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

const added = { type: "ItemAdded", data: { sku: "A" } };

function newCart() {
  return { type: "Cart", id: `cart-${randomUUID().slice(0, 8)}` };
}

async function collect(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  return await Array.fromAsync(events);
}

test("causation and correlation ids may be text, which is kept in the metadata", async () => {
  const cart = newCart();
  const uuid = randomUUID();
  const events: NewEvent[] = [
    { ...added, causationId: "cmd-1", correlationId: uuid.toUpperCase(), metadata: { user: "ada" } },
    { ...added, correlationId: "req/漢字" },
    { ...added, causationId: `{${uuid}}`, metadata: { $causationId: `{${uuid}}` } },
    { ...added, causationId: uuid },
  ];
  const decision = await decide(
    store,
    { type: "Cart", initialState: () => [] as RecordedEvent[], evolve: (seen, event) => [...seen, event] },
    cart.id,
    () => events,
  );
  const expected = [
    ["cmd-1", uuid, { user: "ada", $causationId: "cmd-1" }],
    [null, "req/漢字", { $correlationId: "req/漢字" }],
    [`{${uuid}}`, null, { $causationId: `{${uuid}}` }],
    [uuid, null, null],
  ];
  const stored = await collect(readStream(store, cart));
  for (const found of [stored, decision.state]) {
    assert.deepEqual(
      found.map(({ causationId, correlationId, metadata }) => [causationId, correlationId, metadata]),
      expected,
    );
  }
  const copies = stored.map(({ type, data, metadata, causationId, correlationId }) => ({
    ...{ type, data, causationId: causationId ?? undefined, correlationId: correlationId ?? undefined },
    ...(metadata === null ? {} : { metadata }),
  }));
  const copy = newCart();
  await appendEvents(store, copy, copies as NewEvent[]);
  assert.deepEqual(
    (await collect(readStream(store, copy))).map(({ causationId, correlationId }) => [causationId, correlationId]),
    expected.map(([causation, correlation]) => [causation, correlation]),
  );
});

test("a text id that the metadata cannot keep is refused, and only that append", async () => {
  const bad: [Partial<NewEvent>, RegExp][] = [
    [
      { causationId: "a", metadata: { $causationId: "b" } },
      /the metadata of event 1 \(ItemAdded\) has another \$causationId than its causationId/,
    ],
    [
      { correlationId: "" },
      /the correlationId of event 1 \(ItemAdded\) is ""; it must be a UUID, or text of 1 to 1024/,
    ],
    [{ causationId: "x".repeat(1025) }, /the causationId of event 1 \(ItemAdded\) is text of 1025 bytes/],
    [
      { causationId: "a", metadata: [] as never },
      /the metadata of event 1 \(ItemAdded\) is an array; only an object can keep text ids/,
    ],
    [{ correlationId: "a\u0000" }, /NUL/],
  ];
  for (const [change, message] of bad) {
    const event = { ...added, ...change } as NewEvent;
    const [outcome] = await Promise.allSettled([
      appendEvents(store, newCart(), [event]),
      appendEvents(store, newCart(), [added]),
    ]);
    assert.ok(outcome.status === "rejected" && outcome.reason instanceof InvalidInput, message.source);
    assert.match(outcome.reason.message, message);
  }
});

test("in SQL, ids that are no UUIDs are kept in the metadata, by every function that appends", async () => {
  const cart = newCart();
  const event = JSON.stringify({ event_type: "A", event_data: {}, causation_id: "cmd-1", correlation_id: "req-1" });
  await database.sql`
    select event_store.append_events('Cart', event_store.aggregate_id_of(${cart.id}), null, array[${event}::text::jsonb])`;
  const batch = JSON.stringify([{ aggregate_type: "Cart", aggregate_key: cart.id, events: [JSON.parse(event)] }]);
  await database.sql`select event_store.append_batch(${batch}::text::jsonb)`;
  await database.sql`
    select event_store.append(
      event_store.stream_id_of('Cart', event_store.aggregate_id_of(${cart.id})),
      'Cart', event_store.aggregate_id_of(${cart.id}), 2, ${`[${event}]`}::text::jsonb, ${cart.id})`;
  const events = await collect(readStream(store, cart));
  assert.deepEqual(
    events.map(({ causationId, correlationId, metadata }) => [causationId, correlationId, metadata]),
    Array.from({ length: 3 }, () => ["cmd-1", "req-1", { $causationId: "cmd-1", $correlationId: "req-1" }]),
  );
});
