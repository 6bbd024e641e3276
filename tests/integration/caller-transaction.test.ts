import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { VersionConflict } from "../../scripts/lib/event-store/errors.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";

let database: TestDatabase;
let store: EventStore;
before(async () => {
  database = await withDatabase();
  // One connection: whatever needs a second one would wait until it times out.
  store = openTestStore(database, { maxConnections: 1 });
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const counter = {
  type: "Order",
  initialState: () => ({ count: 0 }),
  evolve: ({ count }: { count: number }) => ({ count: count + 1 }),
};

test("reads, loads and decisions in the caller's transaction need no second connection, and see its events", async () => {
  const order = newOrder();
  const work = store.sql.begin(async (transaction) => {
    await appendEvents(store, order, [orderPlaced], { transaction });
    const decided = await decide(store, counter, order.id, () => [orderPlaced], { transaction });
    assert.deepEqual([decided.state, decided.version], [{ count: 2 }, 2]);
    for (const pageSize of [1, 1000]) {
      const events = await Array.fromAsync(readStream(store, order, { transaction, pageSize }));
      assert.deepEqual(
        events.map(({ aggregateVersion }) => aggregateVersion),
        [1, 2],
      );
    }
    assert.deepEqual(await loadAggregate(store, counter, order.id, { transaction }), {
      state: { count: 2 },
      version: 2,
    });
    throw new Error("changed my mind");
  });
  await assert.rejects(work, /changed my mind/);
  assert.equal((await loadAggregate(store, counter, order.id)).version, 0);
});

test("readAll() in the caller's transaction reads every event but those of the transaction itself", async () => {
  const order = newOrder();
  await appendEvents(store, order, Array<OrderEvent>(7).fill(orderPlaced));
  const before = (await Array.fromAsync(readAll(store))).length;
  await store.sql.begin(async (transaction) => {
    await appendEvents(store, order, [orderPlaced], { transaction });
    for (const pageSize of [1, 3, 1000]) {
      const events = await Array.fromAsync(readAll(store, { transaction, pageSize }));
      assert.equal(new Set(events.map(({ id }) => id)).size, before);
    }
    assert.equal((await Array.fromAsync(readAll(store, { transaction, eventTypes: [] }))).length, 0);
  });
});

test("savepoints, reservations and the pool's own transactions are accepted without a cast", async () => {
  const order = newOrder();
  await store.sql.begin((transaction) =>
    transaction.savepoint((savepoint) => appendEvents(store, order, [orderPlaced], { transaction: savepoint })),
  );
  const reserved = await store.sql.reserve();
  try {
    await reserved`begin`;
    assert.equal((await loadAggregate(store, counter, order.id, { transaction: reserved })).version, 1);
    await reserved`commit`;
  } finally {
    reserved.release();
  }
});

test("the pool itself is no transaction", async () => {
  await assert.rejects(
    appendEvents(store, newOrder(), [orderPlaced], { transaction: store.sql }),
    /^InvalidInput: transaction is a function; it must be .* store\.transaction\(\) or sql\.begin\(\) passes to its/,
  );
});

test("a load in a read-only transaction works, and saves no snapshot", async () => {
  const order = newOrder();
  await appendEvents(store, order, [orderPlaced]);
  const definition = { ...counter, snapshots: { stateVersion: 1, everyEvents: 1 } };
  const snapshots = () => database.sql`select from event_store.load_snapshot('Order', ${order.id}, 1)`;
  await store.sql.begin("read only", async (transaction) => {
    assert.equal((await loadAggregate(store, definition, order.id, { transaction })).version, 1);
  });
  assert.equal((await snapshots()).length, 0);
  assert.equal((await loadAggregate(store, definition, order.id)).version, 1);
  assert.equal((await snapshots()).length, 1);
  await appendEvents(store, order, [orderPlaced]);
  await store.sql.begin(async (transaction) => {
    assert.equal((await loadAggregate(store, definition, order.id, { transaction })).state.count, 2);
  });
});

test("decide() in the caller's transaction retries a conflict, and the transaction goes on", async () => {
  await using other = openTestStore(database);
  const order = newOrder();
  let attempts = 0;
  await store.sql.begin(async (transaction) => {
    const { version } = await decide(
      store,
      counter,
      order.id,
      async () => {
        attempts++;
        if (attempts === 1) await appendEvents(other, order, [orderPlaced]);
        return [orderPlaced];
      },
      { transaction },
    );
    assert.deepEqual([version, attempts], [2, 2]);
    await assert.rejects(
      appendEvents(store, order, [orderPlaced], { transaction, expectedVersion: 0n }),
      VersionConflict,
    );
  });
  assert.equal((await loadAggregate(store, counter, order.id)).version, 2);
});

test("a transaction that decides twice does not wait for a call that waits for its lock", async () => {
  await using other = openTestStore(database);
  const order = newOrder();
  await appendEvents(store, order, [orderPlaced]);
  let outside: Promise<unknown> | undefined;
  await other.sql.begin(async (transaction) => {
    await decide(other, counter, order.id, () => [orderPlaced], { transaction });
    // It takes its turn, and waits in the database for the stream that the transaction has locked.
    outside = decide(other, counter, order.id, () => [orderPlaced]);
    await untilWaiting();
    // Ends before the turn of the other call does.
    const signal = AbortSignal.timeout(4_000);
    const { version } = await decide(other, counter, order.id, () => [orderPlaced], { transaction, signal });
    assert.equal(version, 3);
  });
  await outside;
  assert.equal((await loadAggregate(store, counter, order.id)).version, 4);
});

async function untilWaiting(): Promise<void> {
  for (;;) {
    const [row] = await database.admin<{ waiting: bigint }[]>`
      select count(*) as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    if (row?.waiting !== 0n) return;
  }
}

test("an append in a transaction hears its signal", async () => {
  await store.sql.begin(async (transaction) => {
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(appendEvents(store, newOrder(), [orderPlaced], { transaction, signal }), /enough/);
  });
});

test("ten projections whose handlers read through the store in their transaction share one small pool", async () => {
  await using small = openTestStore(database, { maxConnections: 4 });
  const run = (index: number) => {
    let seen = 0;
    return project(small, {
      name: `reads_${index}`,
      version: 1,
      stopWhenCaughtUp: true,
      async handle(events, transaction) {
        for (const { aggregate } of events) {
          for await (const _event of readStream(small, aggregate, { transaction })) seen++;
          await loadAggregate(small, counter, aggregate.id, { transaction });
        }
      },
    }).then((outcome) => [outcome, seen > 0]);
  };
  const outcomes = await Promise.all(Array.from({ length: 10 }, (_, index) => run(index)));
  assert.deepEqual(outcomes, Array(10).fill(["caught-up", true]));
});
