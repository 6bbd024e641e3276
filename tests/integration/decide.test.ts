import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type AggregateDefinition, decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { VersionConflict } from "../../scripts/lib/event-store/errors.ts";
import type { DomainEvent, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readStream } from "../../scripts/lib/event-store/read.ts";
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

const counter: AggregateDefinition<{ count: number }, OrderEvent> = {
  type: "Order",
  initialState: () => ({ count: 0 }),
  evolve: ({ count }) => ({ count: count + 1 }),
};

/** Its state is the events as they were folded. */
const journal: AggregateDefinition<readonly RecordedEvent[], DomainEvent> = {
  type: "Order",
  initialState: () => [],
  evolve: (events, event) => [...events, event],
};

test("decide() returns the state after its events, as loading it would", async () => {
  const { id } = newOrder();
  const events = [
    { type: "A", data: { at: new Date(0), absent: undefined, n: -0 }, metadata: { user: "ada" } },
    { type: "B", data: [1, "x"], version: 2, id: randomUUID().toUpperCase(), causationId: randomUUID().toUpperCase() },
  ];
  const first = await decide(store, journal, id, () => events, { correlationId: randomUUID() });
  assert.deepEqual([first.version, first.appended?.lastVersion], [2, 2]);
  const second = await decide(store, journal, id, (state, version) => {
    assert.deepEqual([state.length, version], [2, 2]);
    return [{ type: "C", data: {} }];
  });
  const { state, version } = await loadAggregate(store, journal, id);
  assert.deepEqual([second.state, second.version], [state, version]);
  assert.deepEqual(first.state, state.slice(0, 2));
  const unchanged = await decide(store, journal, id, () => []);
  assert.deepEqual(unchanged, { state, version: 3, appended: undefined });
});

test("decide() folds its events with the upcasters of the store", async () => {
  const upcasters = { OrderPlaced: { 1: ({ total }: { total: number }) => ({ cents: total * 100 }) } };
  await using newest = openTestStore(database, { upcasters });
  const { id } = newOrder();
  const { state } = await decide(newest, journal, id, () => [orderPlaced]);
  assert.deepEqual([state[0]?.version, state[0]?.data], [2, { cents: 4200 }]);
  assert.deepEqual(state, (await loadAggregate(newest, journal, id)).state);
});

test("decide() returns the current state if its events were already stored", async () => {
  const order = newOrder();
  const command = [{ ...orderPlaced, id: randomUUID() }];
  await decide(store, counter, order.id, () => command);
  await appendEvents(store, order, [orderPlaced, orderPlaced]);
  const repeated = await decide(store, counter, order.id, () => command);
  assert.deepEqual([repeated.state, repeated.version, repeated.appended?.isDuplicate], [{ count: 3 }, 3, true]);
  assert.equal(repeated.appended?.lastVersion, 1);
});

test("concurrent calls for one aggregate take turns: each decides once, and none conflicts", async () => {
  const { id } = newOrder();
  let decisions = 0;
  const decision = async () => {
    decisions++;
    await nextTurn();
    return [orderPlaced];
  };
  const results = await Promise.all(
    Array.from({ length: 40 }, () => decide(store, counter, id, decision, { retries: 0 })),
  );
  assert.equal(decisions, 40);
  assert.deepEqual(
    results.map(({ version, state }) => [version, state.count]),
    Array.from({ length: 40 }, (_, index) => [index + 1, index + 1]),
  );
});

test("a decision that hangs keeps no other aggregate waiting, and its signal ends it", async () => {
  const { id } = newOrder();
  const [hung, waiting] = [new AbortController(), new AbortController()];
  const isDeciding = Promise.withResolvers<void>();
  const never = () => {
    isDeciding.resolve();
    return new Promise<OrderEvent[]>(() => {});
  };
  const hanging = decide(store, counter, id, never, { signal: hung.signal });
  await isDeciding.promise;
  const behind = decide(store, counter, id, () => [orderPlaced], { signal: waiting.signal });
  const next = decide(store, counter, id, () => [orderPlaced]);
  const others = Array.from({ length: 10 }, () => decide(store, counter, newOrder().id, () => [orderPlaced]));
  assert.equal((await Promise.all(others)).length, 10);
  const reason = new Error("enough");
  waiting.abort(reason);
  await assert.rejects(behind, reason);
  hung.abort(reason);
  await assert.rejects(hanging, reason);
  assert.equal((await next).version, 1);
});

test("decide() stops retrying when its signal is aborted, and makes as many attempts as promised", async () => {
  const order = newOrder();
  let attempts = 0;
  const interfere = async () => {
    attempts++;
    await appendEvents(store, order, [orderPlaced]);
    return [orderPlaced];
  };
  for (const [options, expected] of [
    [{}, 6],
    [{ retries: 0 }, 1],
  ] as const) {
    attempts = 0;
    await assert.rejects(decide(store, counter, order.id, interfere, options), VersionConflict);
    assert.equal(attempts, expected);
  }
  const stop = new AbortController();
  attempts = 0;
  const stopping = async () => {
    if (attempts === 2) stop.abort(new Error("enough"));
    return await interfere();
  };
  await assert.rejects(decide(store, counter, order.id, stopping, { signal: stop.signal, retries: 100 }), /enough/);
  assert.ok(attempts <= 3, `${attempts} attempts`);
  await assert.rejects(decide(store, counter, order.id, interfere, { signal: AbortSignal.abort() }), {
    name: "AbortError",
  });
});

test("conflicts with another process are retried, and each decision sees the newest state", async () => {
  await using other = openTestStore(database);
  const { id } = newOrder();
  const results = await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      decide(index % 2 === 0 ? store : other, counter, id, () => [orderPlaced], { retries: 30 }),
    ),
  );
  const versions = results.map(({ version }) => version).toSorted((one, two) => one - two);
  assert.deepEqual(
    versions,
    Array.from({ length: 30 }, (_, index) => index + 1),
  );
  assert.ok(results.every(({ state, version }) => state.count === version));
  assert.equal((await Array.fromAsync(readStream(store, { type: "Order", id }))).length, 30);
});
