// What a subscription tells about the end of the log, and where it may start.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointAfter, logEnd, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, Checkpoint } from "../../scripts/lib/event-store/event.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type EventBatch, type SubscribeOptions, subscribe } from "../../scripts/lib/event-store/subscribe.ts";
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

const paid: OrderEvent = { type: "OrderPaid", data: { amount: 1 } };

async function append(order: Aggregate, count: number, event = orderPlaced): Promise<void> {
  await appendEvents(store, order, Array<OrderEvent>(count).fill(event));
}

/** Reads batches until one is live. */
async function catchUp(batches: AsyncIterator<EventBatch, void>): Promise<EventBatch[]> {
  const read: EventBatch[] = [];
  while (read.at(-1)?.isLive !== true) read.push((await batches.next()).value as EventBatch);
  return read;
}

/** Reads all that is stored now. */
async function readOnce(options: SubscribeOptions): Promise<EventBatch[]> {
  const batches = subscribe(store, options);
  try {
    return await catchUp(batches);
  } finally {
    await batches.return();
  }
}

function shape(batches: readonly EventBatch[]): unknown[] {
  return batches.map(({ events, isLive }) => [events.length, isLive]);
}

test("on an empty log, a subscription is live at once, and its first event comes in a live batch", async () => {
  await using empty = await withDatabase();
  await using emptyStore = openTestStore(empty);
  assert.equal(await logEnd(emptyStore), logStart);
  const batches = subscribe(emptyStore);
  const [first] = await catchUp(batches);
  assert.deepEqual([first?.events, first?.isLive, first?.checkpoint], [[], true, logStart]);
  const next = batches.next();
  await appendEvents(emptyStore, newOrder(), [orderPlaced]);
  assert.deepEqual(shape([(await next).value as EventBatch]), [[1, true]]);
  await batches.return();
});

test("the batch that reaches the end of the log is live, and those before it are not", async () => {
  const start = await logEnd(store);
  const order = newOrder();
  await append(order, 7);
  const aggregate = order;
  assert.deepEqual(shape(await readOnce({ aggregate, batchSize: 3 })), [
    [3, false],
    [3, false],
    [1, true],
  ]);
  assert.deepEqual(shape(await readOnce({ aggregate, batchSize: 7 })), [
    [7, false],
    [0, true],
  ]);
  assert.deepEqual(shape(await readOnce({ after: start, batchSize: 100 })), [[7, true]]);
});

test("a filter that matches nothing gives one live batch without events, and its checkpoint is the end", async () => {
  await append(newOrder(), 3);
  const none: readonly SubscribeOptions[] = [
    { eventTypes: ["None"] },
    { aggregateTypes: ["None"] },
    { eventTypes: [] },
    { aggregate: newOrder() },
  ];
  for (const filter of none) {
    const [batch, ...others] = await readOnce(filter);
    assert.deepEqual([batch?.events, others], [[], []]);
    assert.equal(batch?.checkpoint, await logEnd(store));
  }
});

test("a subscription that stays live does not say so again, however many events it skips", async () => {
  const stop = new AbortController();
  const batches = subscribe(store, { eventTypes: ["OrderPaid"], after: await logEnd(store), signal: stop.signal });
  assert.deepEqual(shape(await catchUp(batches)), [[0, true]]);
  const next = batches.next();
  for (let time = 0; time < 5; time++) await append(newOrder(), 1);
  await append(newOrder(), 1, paid);
  assert.deepEqual(shape([(await next).value as EventBatch]), [[1, true]]);
  const last = batches.next();
  await append(newOrder(), 1);
  stop.abort();
  assert.equal((await last).done, true);
});

test("a subscription that falls behind says so, and that it is live once it has caught up again", async () => {
  const order = newOrder();
  const batches = subscribe(store, { aggregate: order, batchSize: 2 });
  assert.deepEqual(shape(await catchUp(batches)), [[0, true]]);
  for (const count of [5, 4, 1]) {
    await append(order, count);
    const read = await catchUp(batches);
    assert.equal(read.flatMap(({ events }) => events).length, count);
    assert.deepEqual(
      read.map(({ isLive }) => isLive),
      read.map((_, index) => index === read.length - 1),
    );
  }
  await batches.return();
});

test("reading until the first live batch reads everything that was committed before, with any filter", async () => {
  const orders = [newOrder(), newOrder(), newOrder()];
  for (let time = 0; time < 4; time++)
    for (const order of orders) await append(order, 2, time === 2 ? paid : undefined);
  for (const batchSize of [1, 3, 500]) {
    const all = (await readOnce({ batchSize })).flatMap(({ events }) => events);
    assert.deepEqual(all, await Array.fromAsync(readAll(store)));
    for (const filter of [{}, { eventTypes: ["OrderPaid"] }, { aggregateTypes: ["Order"] }, { aggregateTypes: [] }]) {
      const some = (await readOnce({ batchSize, ...filter })).flatMap(({ events }) => events);
      assert.deepEqual(some, await Array.fromAsync(readAll(store, filter)));
    }
  }
});

test("readAll() and subscribe() read one stream of the log, and resume from a checkpoint of the log", async () => {
  const [order, other] = [newOrder(), newOrder()];
  for (let time = 0; time < 3; time++) {
    await append(other, 2);
    await append(order, 1);
    await append({ ...order, type: "Invoice" }, 1);
    await append(order, 1, paid);
  }
  const upper = { ...order, id: order.id.toUpperCase() };
  for (const aggregate of [order, upper]) {
    for (const pageSize of [1, 2, 1000]) {
      const events = await Array.fromAsync(readAll(store, { aggregate, pageSize }));
      assert.deepEqual(
        events.map((event) => [event.aggregateVersion, event.aggregate]),
        [1, 2, 3, 4, 5, 6].map((version) => [version, order]),
      );
      assert.deepEqual(
        (await readOnce({ aggregate, batchSize: pageSize })).flatMap((batch) => batch.events),
        events,
      );
      const [, second] = events;
      assert.ok(second !== undefined);
      for (const after of [checkpointAfter(second), (await readOnce({ aggregate, batchSize: 2 }))[0]?.checkpoint]) {
        const rest = await Array.fromAsync(readAll(store, { aggregate, pageSize, after: after as Checkpoint }));
        assert.deepEqual(rest, events.slice(2));
      }
    }
  }
  const types = { aggregate: order, eventTypes: ["OrderPaid"] };
  assert.equal((await Array.fromAsync(readAll(store, types))).length, 3);
  assert.equal((await Array.fromAsync(readAll(store, { ...types, aggregateTypes: ["Invoice"] }))).length, 0);
});

test("an aggregate that is none is refused before anything is read", async () => {
  for (const aggregate of [null, "Order", {}, { type: "Order", id: "" }, { type: "", id: newOrder().id }]) {
    const options = { aggregate } as never;
    await assert.rejects(readAll(store, options).next(), InvalidInput);
    await assert.rejects(subscribe(store, options).next(), InvalidInput);
  }
  await assert.rejects(
    readAll(store, { aggregate: 5 as never }).next(),
    /^InvalidInput: aggregate is 5; it must be an/,
  );
});

test("logEnd() is where a subscription starts from now: events before it do not come, later ones do", async () => {
  await append(newOrder(), 3);
  const end = await logEnd(store);
  assert.equal(end, checkpointAfter((await Array.fromAsync(readAll(store))).at(-1) as never));
  const order = newOrder();
  await append(order, 2);
  const [batch, ...others] = await readOnce({ after: end });
  assert.deepEqual(
    batch?.events.map(({ aggregate, aggregateVersion }) => [aggregate.id, aggregateVersion]),
    [
      [order.id, 1],
      [order.id, 2],
    ],
  );
  assert.deepEqual(others, []);
  await assert.rejects(
    subscribe(store, { after: "now" as Checkpoint }).next(),
    /"now" is not a checkpoint: pass logStart/,
  );
});

test("no event that is committed after logEnd() is missed, whatever is in flight during the call", async () => {
  const [open, committed, later] = [newOrder(), newOrder(), newOrder()];
  let end = logStart;
  await store.sql.begin(async (transaction) => {
    await appendEvents(store, open, [orderPlaced], { transaction });
    await append(committed, 1);
    end = await logEnd(store);
    await append(later, 1);
  });
  const ids = (await readOnce({ after: end })).flatMap(({ events }) => events.map(({ aggregate }) => aggregate.id));
  assert.deepEqual(ids, [open.id, committed.id, later.id]);
});

test("logEnd() is complete while writers append: what each of them commits after the call comes after it", async () => {
  let isDone = false;
  const write = async () => {
    while (!isDone) {
      await store.sql.begin(async (transaction) => {
        await appendEvents(store, newOrder(), [orderPlaced], { transaction });
        await transaction`select pg_sleep(random() * 0.005)`;
      });
    }
  };
  const writing = [write(), write(), write()];
  for (let round = 0; round < 20; round++) {
    const end = await logEnd(store);
    const order = newOrder();
    await append(order, 1);
    const events = await Array.fromAsync(readAll(store, { after: end, aggregate: order }));
    if (events.length === 0) {
      // Another transaction still holds the log back.
      for await (const batch of subscribe(store, { after: end, aggregate: order })) if (batch.events.length > 0) break;
    } else assert.equal(events.length, 1);
  }
  isDone = true;
  await Promise.all(writing);
});
