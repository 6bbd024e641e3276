import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { Aggregate } from "../../scripts/lib/event-store/event.ts";
import { type ReadStreamOptions, readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";

let database: TestDatabase;
let store: EventStore;
let order: Aggregate;
const paid: OrderEvent = { type: "OrderPaid", data: { amount: 1 } };
const shipped: OrderEvent = { type: "OrderShipped", data: {} };
/** Versions 1, 10, …, 100 are OrderPaid, 101 is OrderShipped. */
const paidVersions = [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100];

before(async () => {
  database = await withDatabase();
  store = openTestStore(database);
  order = newOrder();
  const events = Array.from({ length: 100 }, (_, index) => (paidVersions.includes(index + 1) ? paid : orderPlaced));
  await appendEvents(store, order, [...events, shipped]);
  await appendEvents(store, newOrder(), [paid, paid]);
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function versions(options: ReadStreamOptions): Promise<number[]> {
  return (await Array.fromAsync(readStream(store, order, options))).map(({ aggregateVersion }) => aggregateVersion);
}

test("readStream() returns the events of some types, at any page size and in both directions", async () => {
  for (const pageSize of [1, 2, 3, 11, 12, 1000]) {
    const eventTypes = ["OrderPaid"];
    assert.deepEqual(await versions({ pageSize, eventTypes }), paidVersions);
    assert.deepEqual(await versions({ pageSize, eventTypes, backwards: true }), paidVersions.toReversed());
    assert.deepEqual(await versions({ pageSize, eventTypes, maxCount: 4 }), paidVersions.slice(0, 4));
    assert.deepEqual(await versions({ pageSize, eventTypes, maxCount: 2, backwards: true }), [100, 90]);
    assert.deepEqual(await versions({ pageSize, eventTypes, afterVersion: 10, upToVersion: 50 }), [20, 30, 40, 50]);
    assert.deepEqual(await versions({ pageSize, eventTypes, afterVersion: 20, backwards: true }), [10, 1]);
    assert.deepEqual(await versions({ pageSize, eventTypes: ["OrderShipped"] }), [101]);
    assert.deepEqual(
      await versions({ pageSize, eventTypes: ["OrderShipped", "OrderPaid"], afterVersion: 95 }),
      [100, 101],
    );
    for (const none of [[], ["None"], ["orderpaid"], ['with "quotes"', "{}", "NULL"]]) {
      assert.deepEqual(await versions({ pageSize, eventTypes: none }), []);
    }
  }
});

test("readStream() takes event types together with a time", async () => {
  const eventTypes = ["OrderPaid"];
  assert.deepEqual(await versions({ eventTypes, upToTime: new Date(0) }), []);
  assert.deepEqual(await versions({ eventTypes, upToTime: new Date(Date.now() + 60_000), pageSize: 2 }), paidVersions);
});

test("the last event of a type is one event, read backwards", async () => {
  assert.deepEqual(await versions({ eventTypes: ["OrderPlaced"], backwards: true, maxCount: 1 }), [99]);
});
