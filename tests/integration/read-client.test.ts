import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput, VersionConflict } from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, Checkpoint, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type EventBatch, subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { openFaultProxy } from "../support/fault-proxy.ts";

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

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const collected: Item[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

async function appendOrder(count: number): Promise<Aggregate> {
  const order = newOrder();
  await appendEvents(store, order, Array<OrderEvent>(count).fill(orderPlaced));
  return order;
}

function versions(events: readonly RecordedEvent[]): number[] {
  return events.map(({ aggregateVersion }) => aggregateVersion);
}

test("readStream() returns every event once, at any page size", async () => {
  const order = await appendOrder(7);
  for (const pageSize of [1, 2, 7, 8, 1000]) {
    assert.deepEqual(versions(await collect(readStream(store, order, { pageSize }))), [1, 2, 3, 4, 5, 6, 7]);
    const backwards = await collect(readStream(store, order, { pageSize, backwards: true, maxCount: 5 }));
    assert.deepEqual(versions(backwards), [7, 6, 5, 4, 3]);
    const some = await collect(readStream(store, order, { pageSize, afterVersion: 2, upToVersion: 5 }));
    assert.deepEqual(versions(some), [3, 4, 5]);
    const before = await collect(readStream(store, order, { pageSize, backwards: true, afterVersion: 3 }));
    assert.deepEqual(versions(before), [2, 1]);
  }
  assert.deepEqual(await collect(readStream(store, newOrder())), []);
  const [event] = await collect(readStream(store, order, { maxCount: 1 }));
  assert.deepEqual(versions(await collect(readStream(store, order, { upToTime: new Date(0) }))), []);
  assert.equal((await collect(readStream(store, order, { upToTime: new Date(Date.now() + 1000) }))).length, 7);
  assert.deepEqual([event?.aggregate, event?.data, event?.type], [order, { total: 42 }, "OrderPlaced"]);
  assert.ok(event?.occurredAt instanceof Date && typeof event.position === "bigint");
});

test("readStream() fetches one page ahead, and stops when the caller does", async () => {
  const order = await appendOrder(9);
  for await (const event of readStream(store, order, { pageSize: 2 })) {
    if (event.aggregateVersion === 3) break;
  }
  await assert.rejects(collect(readStream(store, { type: "Order", id: "" })), InvalidInput);
});

test("readAll() returns every event once in the order of positions, with filters and from a checkpoint", async () => {
  const order = newOrder();
  const start = (await collect(readAll(store))).length;
  await appendEvents<OrderEvent>(store, order, [orderPlaced, { type: "OrderPaid", data: { amount: 1 } }, orderPlaced]);
  await appendEvents(store, { ...order, type: "Invoice" }, [{ type: "OrderPaid", data: {} }]);
  for (const pageSize of [1, 3, 1000]) {
    const all = await collect(readAll(store, { pageSize }));
    assert.equal(all.length, start + 4);
    assert.deepEqual(
      all.map(({ position }) => position),
      all.map(({ position }) => position).toSorted((one, other) => (one < other ? -1 : 1)),
    );
    const paid = await collect(readAll(store, { pageSize, eventTypes: ["OrderPaid"] }));
    assert.deepEqual(
      paid.map(({ aggregate }) => aggregate.type),
      ["Order", "Invoice"],
    );
    const invoices = await collect(readAll(store, { pageSize, aggregateTypes: ["Invoice", 'with "quotes"'] }));
    assert.deepEqual(
      invoices.map(({ type }) => type),
      ["OrderPaid"],
    );
    assert.deepEqual(await collect(readAll(store, { pageSize, eventTypes: [] })), []);
  }
  await assert.rejects(collect(readAll(store, { after: "x" as Checkpoint })), InvalidInput);
});

test("readers get events in the latest version that the store's upcasters know", async () => {
  const order = await appendOrder(1);
  const upcasters = { OrderPlaced: { 1: ({ total }: { total: number }) => ({ cents: total * 100 }) } };
  await using newest = openTestStore(database, { upcasters });
  const [event] = await collect(readStream(newest, order));
  assert.deepEqual([event?.version, event?.data], [2, { cents: 4200 }]);
});

const counter = {
  type: "Order",
  initialState: () => ({ count: 0 }),
  evolve: ({ count }: { count: number }) => ({ count: count + 1 }),
};

test("decide() decides again if another was faster, and passes on the ids of the command", async () => {
  const order = newOrder();
  const causationId = "0190a5b2-1111-7000-8000-000000000001";
  const decisions = await Promise.all(
    Array.from({ length: 6 }, () =>
      decide<{ count: number }, OrderEvent>(store, counter, order.id, () => [orderPlaced], {
        causationId,
        retries: 20,
      }),
    ),
  );
  assert.deepEqual(
    decisions.map(({ state, appended }) => [state.count, appended?.lastVersion]).toSorted(),
    [1, 2, 3, 4, 5, 6].map((version) => [version, version]),
  );
  const events = await collect(readStream(store, order));
  assert.ok(events.every((event) => event.causationId === causationId && event.correlationId === null));
});

test("decide() gives up after its retries, rethrows a rejection, and appends nothing if there is no event", async () => {
  const order = await appendOrder(1);
  const interfere = async () => {
    await appendEvents(store, order, [orderPlaced]);
    return [orderPlaced];
  };
  await assert.rejects(decide(store, counter, order.id, interfere, { retries: 2 }), VersionConflict);
  assert.equal((await loadAggregate(store, counter, order.id)).version, 4);
  const refuse = () => {
    throw new Error("not allowed");
  };
  await assert.rejects(decide(store, counter, order.id, refuse), /not allowed/);
  assert.equal((await decide(store, counter, order.id, () => [])).appended, undefined);
  assert.equal((await loadAggregate(store, counter, order.id)).version, 4);
});

test("loadAggregate() continues from its snapshot, and folds from the start if the state version differs", async () => {
  const order = await appendOrder(5);
  const folded: number[] = [];
  const withSnapshots = (stateVersion: number) => ({
    ...counter,
    snapshots: { stateVersion, everyEvents: 5 },
    evolve: ({ count }: { count: number }, event: RecordedEvent) => {
      folded.push(event.aggregateVersion);
      return { count: count + 1 };
    },
  });
  assert.deepEqual(await loadAggregate(store, withSnapshots(1), order.id), { state: { count: 5 }, version: 5 });
  await appendEvents(store, order, [orderPlaced]);
  assert.deepEqual(await loadAggregate(store, withSnapshots(1), order.id), { state: { count: 6 }, version: 6 });
  assert.deepEqual(folded, [1, 2, 3, 4, 5, 6]);
  assert.equal((await loadAggregate(store, withSnapshots(2), order.id)).state.count, 6);
  assert.equal(folded.length, 12);
});

/** Follows the log until `count` events of an order have arrived. */
async function follow(
  from: EventStore,
  order: Aggregate,
  count: number,
  signal?: AbortSignal,
): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const batch of subscribe(from, signal === undefined ? {} : { signal })) {
    events.push(...batch.events.filter(({ aggregate }) => aggregate.id === order.id));
    if (events.length >= count) break;
  }
  return events;
}

test("subscribe() returns stored events, then new ones, with or without a notification", async () => {
  const order = await appendOrder(2);
  const following = follow(store, order, 6);
  await appendEvents(store, order, [orderPlaced]);
  await new Promise((resolve) => setTimeout(resolve, 400));
  await database.sql`
    select event_store.append_events(${order.type}, ${order.id}, 3, array['{"event_type":"Plain","event_data":{}}']::jsonb[])`;
  await new Promise((resolve) => setTimeout(resolve, 400));
  await appendEvents(store, order, [orderPlaced, orderPlaced]);
  assert.deepEqual(versions(await following), [1, 2, 3, 4, 5, 6]);
});

test("subscribe() resumes from a checkpoint, and ends when its signal is aborted", async () => {
  const order = await appendOrder(3);
  const abort = new AbortController();
  const seen: RecordedEvent[] = [];
  let stored: Checkpoint | undefined;
  for await (const { events, checkpoint } of subscribe(store, { batchSize: 2 })) {
    seen.push(...events);
    stored = checkpoint;
    if (seen.some(({ aggregate }) => aggregate.id === order.id)) break;
  }
  const batches: EventBatch[] = [];
  const options = { after: stored as Checkpoint, signal: abort.signal };
  for await (const batch of subscribe(store, options)) {
    batches.push(batch);
    if (batches.flatMap(({ events }) => events).length + seen.length >= 3) abort.abort();
  }
  const all = [...seen, ...batches.flatMap(({ events }) => events)];
  const ofOrder = all.filter(({ aggregate }) => aggregate.id === order.id);
  assert.deepEqual(versions(ofOrder).slice(0, 3), [1, 2, 3]);
  assert.equal(new Set(all.map(({ id }) => id)).size, all.length);
});

test("subscribe() survives lost connections without losing or repeating an event", async () => {
  await using proxy = await openFaultProxy(database.application.port);
  await using cutStore = openTestStore(database, { port: proxy.port });
  const order = newOrder();
  const following = follow(cutStore, order, 30);
  for (let index = 0; index < 30; index++) {
    await appendEvents(store, order, [orderPlaced]);
    if (index % 6 === 5) proxy.cut();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.deepEqual(
    versions(await following),
    Array.from({ length: 30 }, (_, index) => index + 1),
  );
});

test("subscribe() fails when its store is closed, instead of retrying", async () => {
  const closing = openTestStore(database);
  const subscription = subscribe(closing, {});
  await subscription.next();
  await closing[Symbol.asyncDispose]();
  await assert.rejects(
    (async () => {
      for await (const _batch of subscription);
    })(),
    { code: "CONNECTION_ENDED" },
  );
});
