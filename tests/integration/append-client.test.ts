import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type AppendResult, appendEvents } from "../../scripts/lib/event-store/append.ts";
import {
  DuplicateEvent,
  InvalidInput,
  StreamArchived,
  StreamExists,
  StreamNotFound,
  VersionConflict,
} from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, ExpectedVersion } from "../../scripts/lib/event-store/event.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { streamIdOf } from "../../scripts/lib/event-store/stream-id.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { openFaultProxy } from "../support/fault-proxy.ts";
import { testRounds } from "../support/runtime.ts";

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

async function versionsOf(aggregate: Aggregate): Promise<number[]> {
  const rows = await database.sql<{ version: number }[]>`
    select aggregate_version as version from event_store.read_stream(${aggregate.type}, ${aggregate.id})`;
  return rows.map(({ version }) => version);
}

test("appendEvents() stores events with all their properties, and returns where they are", async () => {
  const order = newOrder();
  const ids = { id: randomUUID(), causationId: randomUUID(), correlationId: randomUUID() };
  const result = await appendEvents<OrderEvent>(store, order, [
    { ...orderPlaced, ...ids, version: 3, metadata: { user: "Jürgen" } },
    { type: "OrderPaid", data: { amount: 42 } },
  ]);
  const rows = await database.sql<Record<string, unknown>[]>`
    select * from event_store.read_stream(${order.type}, ${order.id})`;
  assert.deepEqual(
    rows.map((row) => [
      row["event_type"],
      row["event_version"],
      row["event_data"],
      row["metadata"],
      row["causation_id"],
      row["correlation_id"],
    ]),
    [
      ["OrderPlaced", 3, { total: 42 }, { user: "Jürgen" }, ids.causationId, ids.correlationId],
      ["OrderPaid", 1, { amount: 42 }, null, null, null],
    ],
  );
  assert.equal(rows[0]?.["event_id"], ids.id);
  assert.match(String(rows[1]?.["event_id"]), /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  assert.deepEqual(result, {
    streamId: streamIdOf(order),
    firstVersion: 1,
    lastVersion: 2,
    lastPosition: rows[1]?.["global_position"],
    events: rows.map((row) => ({
      id: row["event_id"],
      aggregateVersion: row["aggregate_version"],
      position: row["global_position"],
    })),
    isDuplicate: false,
  });
});

test("concurrent calls for one aggregate keep their order, regardless of other calls", async () => {
  const order = newOrder();
  const [large, small] = [{ note: "x".repeat(20_000) }, {}];
  const results: Promise<AppendResult>[] = [];
  for (let call = 0; call < 200; call++) {
    const data = { ...orderPlaced.data, ...(call % 3 === 0 ? large : small) };
    results.push(appendEvents(store, order, [{ ...orderPlaced, data }]));
    // Enough to make the queue send several batches concurrently.
    results.push(appendEvents(store, newOrder(), [{ ...orderPlaced, data: { ...orderPlaced.data, ...large } }]));
    if (call % 20 === 0) await new Promise((done) => setTimeout(done, 1));
  }
  const versions = (await Promise.all(results)).filter(({ streamId }) => streamId === streamIdOf(order));
  assert.deepEqual(
    versions.map(({ lastVersion }) => lastVersion),
    Array.from({ length: 200 }, (_, index) => index + 1),
  );
});

test("appendEvents() throws a different class of error for each refusal", async () => {
  const order = newOrder();
  const append = (expectedVersion: ExpectedVersion, events = [orderPlaced], aggregate = order) =>
    appendEvents(store, aggregate, events, { expectedVersion });
  await assert.rejects(append("exists"), StreamNotFound);
  await append("no-stream");
  await assert.rejects(append("no-stream"), StreamExists);
  await append(1);
  await assert.rejects(append(1), (error: VersionConflict) => {
    assert.ok(error instanceof VersionConflict);
    assert.deepEqual([error.expected, error.actual, error.aggregate], [1, 2, order]);
    return true;
  });
  await append("exists");
  await append("any");
  const event = { ...orderPlaced, id: randomUUID() };
  await append("any", [event]);
  await assert.rejects(append("any", [event, orderPlaced]), DuplicateEvent);
  await assert.rejects(append("any", [event], newOrder()), DuplicateEvent);
  await database.sql`select event_store.archive_stream(${order.type}, ${order.id})`;
  await assert.rejects(append("any"), StreamArchived);
  assert.equal((await append(1, [event])).isDuplicate, true);
  assert.deepEqual(await versionsOf(order), [1, 2, 3, 4, 5]);
});

test("appendEvents() refuses what cannot be stored before anything is sent, and names it", async () => {
  const order = newOrder();
  const cases: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => appendEvents(store, order, []), /no events/],
    [() => appendEvents(store, { ...order, id: "" }, [orderPlaced]), /the aggregate's id is ""; it must be a UUID, or/],
    [() => appendEvents(store, { ...order, type: "" }, [orderPlaced]), /no type/],
    [
      () => appendEvents(store, order, [{ type: "A", data: { a: Number.NaN } }]),
      /data of event 1 \(A\) contains NaN at \.a/,
    ],
    [() => appendEvents(store, order, [{ type: "A", data: {}, version: 0 }]), /event_version/],
    [
      () => appendEvents(store, order, [{ type: "x".repeat(300), data: {} }]),
      /event_type of event 1 has 300 characters/,
    ],
    [() => appendEvents(store, order, [orderPlaced], { expectedVersion: -3 }), /-3 is not an expected version/],
    [() => appendEvents(store, order, [orderPlaced], { expectedVersion: 1.5 }), /1.5 is not an expected version/],
    [
      () => appendEvents(store, order, [{ ...orderPlaced, id: "17" }]),
      /the id of event 1 \(OrderPlaced\) is not a UUID: "17"/,
    ],
    [
      () => appendEvents(store, order, [orderPlaced], { expectedVersion: "some" as "any" }),
      /"some" is not an expected version/,
    ],
  ];
  for (const [call, message] of cases) {
    await assert.rejects(call, (error: Error) => error instanceof InvalidInput && message.test(error.message));
  }
  assert.deepEqual(await versionsOf(order), []);
});

test("only events of the given types can be appended", async () => {
  // @ts-expect-error: an order has no such event
  const event: OrderEvent = { type: "OrderEaten", data: {} };
  assert.equal(event.type, "OrderEaten");
});

test("the appends of 32 concurrent callers are sent together, and each gets its own outcome", async () => {
  const orders = Array.from({ length: 32 }, newOrder);
  const [first] = orders as [Aggregate];
  await appendEvents(store, first, [orderPlaced]);
  const before = await statementCount();
  const results = await Promise.allSettled(
    orders.map((order, index) =>
      appendEvents(store, order, [index === 7 ? { type: "", data: {} } : orderPlaced], {
        expectedVersion: "no-stream",
      }),
    ),
  );
  const refused = results.flatMap((result, index) =>
    result.status === "rejected" ? [[index, result.reason.code]] : [],
  );
  assert.deepEqual(refused, [
    [0, "UE002"],
    [7, "UE007"],
  ]);
  const statements = (await statementCount()) - before;
  assert.ok(statements < 10, `${statements} transactions for 32 calls`);
});

/** Counts the committed transactions of the test's database, including those of this query. */
async function statementCount(): Promise<number> {
  const [row] = await database.admin<{ count: bigint }[]>`
    select pg_stat_force_next_flush(), pg_stat_get_db_xact_commit(oid) as count
    from pg_database where datname = current_database()`;
  return Number(row?.count);
}

test("concurrent calls for one stream that expect successive versions all succeed", async () => {
  const order = newOrder();
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      appendEvents(store, order, [orderPlaced], { expectedVersion: index === 0 ? "no-stream" : index }),
    ),
  );
  assert.deepEqual(
    results.map(({ lastVersion }) => lastVersion),
    Array.from({ length: 20 }, (_, index) => index + 1),
  );
});

test("an append in the caller's transaction is rolled back with it", async () => {
  const order = newOrder();
  const work = inTransaction(store.sql, async (transaction) => {
    assert.equal((await appendEvents(store, order, [orderPlaced], { transaction })).lastVersion, 1);
    await assert.rejects(
      appendEvents(store, order, [orderPlaced], { transaction, expectedVersion: 7 }),
      VersionConflict,
    );
    assert.equal((await appendEvents(store, order, [orderPlaced], { transaction, expectedVersion: 1 })).lastVersion, 2);
    throw new Error("changed my mind");
  });
  await assert.rejects(work, /changed my mind/);
  assert.deepEqual(await versionsOf(order), []);
});

test("an append that waits for another session delays other appends only briefly", async () => {
  const [locked, free] = [newOrder(), newOrder()];
  await appendEvents(store, locked, [orderPlaced]);
  const lock = Promise.withResolvers<void>();
  const isLocked = Promise.withResolvers<void>();
  const holding = database.admin.begin(async (tx) => {
    await tx`select from event_store.event_stream where stream_id = ${streamIdOf(locked)} for update`;
    isLocked.resolve();
    await lock.promise;
  });
  await isLocked.promise;
  const waiting = appendEvents(store, locked, [orderPlaced]);
  assert.equal((await appendEvents(store, free, [orderPlaced])).lastVersion, 1);
  lock.resolve();
  await holding;
  assert.equal((await waiting).lastVersion, 2);
});

test("appends are stored exactly once, whenever their connection is cut", async () => {
  await using proxy = await openFaultProxy(database.application.port);
  await using cutStore = openTestStore(database, { port: proxy.port });
  for (let round = 0; round < testRounds(4); round++) {
    const orders = Array.from({ length: 8 }, newOrder);
    let isDone = false;
    let acknowledged = 0;
    const cutting = (async () => {
      while (!isDone) {
        // Every other round drops the answer first: the server commits, and the client does not learn of it.
        proxy.muteAnswers(round % 2 === 0);
        await sleep(5 + Math.random() * 15);
        proxy.cut();
        proxy.muteAnswers(false);
        // Wait for progress: on a busy machine, connecting takes longer than any fixed time between two cuts.
        for (const before = acknowledged; acknowledged === before && !isDone; ) await sleep(5);
        await sleep(Math.random() * 60);
      }
    })();
    const appends = orders.map(async (order) => {
      for (let version = 0; version < 10; version++) {
        const result = await appendEvents(cutStore, order, [orderPlaced, orderPlaced], {
          expectedVersion: version * 2,
        });
        assert.equal(result.lastVersion, version * 2 + 2);
        acknowledged++;
      }
    });
    await Promise.all(appends).finally(() => {
      isDone = true;
    });
    await cutting;
    for (const order of orders) {
      assert.deepEqual(
        await versionsOf(order),
        Array.from({ length: 20 }, (_, index) => index + 1),
      );
    }
  }
});

test("disposing of the store waits for the appends in flight and refuses new ones", async () => {
  const order = newOrder();
  const closing = openTestStore(database);
  const appends = Array.from({ length: 5 }, () => appendEvents(closing, order, [orderPlaced]));
  await closing[Symbol.asyncDispose]();
  await Promise.all(appends);
  await assert.rejects(appendEvents(closing, order, [orderPlaced]), /the event store is closed/);
  assert.deepEqual(await versionsOf(order), [1, 2, 3, 4, 5]);
});
