import assert from "node:assert/strict";
import { test } from "node:test";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointAfter, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, DomainEvent, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { replayDeadLetters } from "../../scripts/lib/event-store/projection/dead-letters.ts";
import type { ProjectOptions } from "../../scripts/lib/event-store/projection/definition.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import type { Upcasters } from "../../scripts/lib/event-store/upcast.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";
import { readDeadLetters, runInBackground, untilHandled } from "../support/projection.ts";

const upcasters = {
  Created: { 1: { into: { Placed: 2 } } },
  Placed: { 1: ({ sum }: { sum: number }) => ({ total: sum }) },
  Closed: {
    1: {
      into: { Paid: 1, Shipped: 1 },
      rewrite: ({ amount }: { amount: number }) => [
        { type: "Paid", data: { amount } },
        { type: "Paid", data: { amount: -amount } },
        { type: "Shipped", data: {} },
      ],
    },
  },
  Touched: { 1: { into: {} } },
} satisfies Upcasters;

const created = { type: "Created", version: 1, data: { total: 1 } };
const placed = { type: "Placed", version: 1, data: { sum: 2 } };
const closed = { type: "Closed", version: 1, data: { amount: 3 } };
const touched = { type: "Touched", version: 1, data: {} };
const parts = ["Paid", "Paid", "Shipped"];

/** What an event of a type becomes. */
const typesAfter: Readonly<Record<string, readonly string[]>> = {
  Created: ["Placed"],
  Placed: ["Placed"],
  Closed: parts,
  Touched: [],
};

async function append(store: EventStore, order: Aggregate, events: readonly DomainEvent[]): Promise<void> {
  await appendEvents(store, order, events);
}

/** @returns the type and the version in the stream of events */
async function read(events: AsyncIterable<RecordedEvent>): Promise<(readonly [string, number])[]> {
  return (await Array.fromAsync(events)).map(({ type, aggregateVersion }) => [type, aggregateVersion] as const);
}

/** @returns what `read()` returns for a stream with these events */
function expected(events: readonly DomainEvent[]): (readonly [string, number])[] {
  return events.flatMap(({ type }, index) => (typesAfter[type] ?? []).map((name) => [name, index + 1] as const));
}

async function openStores(database: TestDatabase) {
  const store = openTestStore(database, { upcasters, logger: false });
  return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

const mixed = [touched, created, closed, touched, touched, touched, closed, closed, placed, touched, closed, touched];

test("an event store with malformed upcasters, or with a cycle of them, is not opened", async () => {
  await using database = await withDatabase();
  const wrong: readonly Upcasters[] = [{ A: { 1: { into: { A: 1 } } } }, { A: "B" as never }];
  for (const one of wrong) assert.throws(() => openTestStore(database, { upcasters: one }), InvalidInput);
});

test("readStream() returns what the events became, in both directions, at any page size, and counts that", async () => {
  await using database = await withDatabase();
  await using stores = await openStores(database);
  const { store } = stores;
  const order = newOrder();
  await append(store, order, mixed);
  const all = expected(mixed);
  for (const pageSize of [1, 3, 1000]) {
    for (let maxCount = 1; maxCount <= all.length + 1; maxCount++) {
      const options = { pageSize, maxCount };
      assert.deepEqual(await read(readStream(store, order, options)), all.slice(0, maxCount));
      const backwards = await read(readStream(store, order, { ...options, backwards: true }));
      assert.deepEqual(backwards, all.toReversed().slice(0, maxCount));
    }
    for (const eventTypes of [["Placed"], ["Shipped", "Placed"], ["Created", "Closed"]]) {
      const wanted = all.filter(([type]) => eventTypes.includes(type));
      const options = { pageSize, eventTypes, maxCount: 3 };
      assert.deepEqual(await read(readStream(store, order, options)), wanted.slice(0, 3));
      const backwards = await read(readStream(store, order, { ...options, backwards: true }));
      assert.deepEqual(backwards, wanted.toReversed().slice(0, 3));
    }
    const some = await read(readStream(store, order, { pageSize, afterVersion: 2, upToVersion: 8 }));
    assert.deepEqual(
      some,
      all.filter(([, version]) => version > 2 && version <= 8),
    );
  }
  const dropped = newOrder();
  await append(store, dropped, [touched, touched, touched]);
  assert.deepEqual(await read(readStream(store, dropped, { pageSize: 1, maxCount: 1 })), []);
});

test("the parts of an event share its id and its places", async () => {
  await using database = await withDatabase();
  await using stores = await openStores(database);
  const order = newOrder();
  await append(stores.store, order, [closed]);
  const [first, ...others] = await Array.fromAsync(readStream(stores.store, order));
  assert.ok(first !== undefined && others.length === 2);
  const { id, position, aggregateVersion, occurredAt } = first;
  for (const other of others) assert.partialDeepStrictEqual(other, { id, position, aggregateVersion, occurredAt });
});

test("filters of readAll() follow the new names; a checkpoint after any event or part loses nothing", async () => {
  await using database = await withDatabase();
  await using stores = await openStores(database);
  const { store } = stores;
  await append(store, newOrder(), mixed);
  const all = expected(mixed);
  const filters = [undefined, ["Placed"], ["Shipped", "Paid"], ["Closed", "Created", "Touched"]];
  for (const eventTypes of filters) {
    const wanted = all.filter(([type]) => eventTypes?.includes(type) ?? true);
    const filter = eventTypes === undefined ? {} : { eventTypes };
    for (const pageSize of [1, 3, 1000]) {
      const events = await Array.fromAsync(readAll(store, { ...filter, pageSize }));
      assert.deepEqual(
        events.map(({ type, aggregateVersion }) => [type, aggregateVersion]),
        wanted,
      );
      for (const [index, event] of events.entries()) {
        const isLast = events[index + 1]?.position !== event.position;
        const first = isLast ? index + 1 : events.findIndex(({ position }) => position === event.position);
        const rest = await read(readAll(store, { ...filter, after: checkpointAfter(event), pageSize }));
        assert.deepEqual(rest, wanted.slice(first), `${eventTypes} ${pageSize} ${index}`);
      }
    }
  }
});

test("subscribe() keeps parts together, and passes pages of which nothing is left only once", async () => {
  await using database = await withDatabase();
  const rewritten: number[] = [];
  const counting = {
    ...upcasters,
    Touched: {
      1: {
        into: { Placed: 2 },
        rewrite: (_: unknown, { aggregateVersion }: RecordedEvent) => {
          rewritten.push(aggregateVersion);
          return [];
        },
      },
    },
  };
  await using store = openTestStore(database, { upcasters: counting });
  const order = newOrder();
  await append(store, order, [closed, placed, ...Array.from({ length: 9 }, () => touched)]);
  const seen: (readonly [string, number])[] = [];
  // Because of the filter, pages are fetched one after the other.
  const eventTypes = ["Placed", "Paid", "Shipped"];
  let after = logStart;
  const stop = new AbortController();
  for await (const batch of subscribe(store, { eventTypes, batchSize: 2, signal: stop.signal })) {
    seen.push(...batch.events.map(({ type, aggregateVersion }) => [type, aggregateVersion] as const));
    after = batch.checkpoint;
    if (batch.events.some(({ type }) => type === "Placed")) await append(store, order, [touched, closed]);
    if (seen.length === 7) stop.abort();
  }
  const stored = [closed, placed, ...Array.from({ length: 10 }, () => touched), closed];
  assert.deepEqual(seen, expected(stored));
  assert.deepEqual(
    rewritten,
    Array.from({ length: 10 }, (_, index) => index + 3),
  );
  assert.deepEqual(await read(readAll(store, { after })), []);
});

const orders = {
  type: "Order",
  initialState: (): string[] => [],
  evolve: (state: string[], event: RecordedEvent) => [...state, event.type],
};

test("loadAggregate() and decide() use the version of the stream, even if its last events are dropped", async () => {
  await using database = await withDatabase();
  await using stores = await openStores(database);
  const { store } = stores;
  for (const snapshots of [undefined, { stateVersion: 1, everyEvents: 2 }]) {
    const definition = snapshots === undefined ? orders : { ...orders, snapshots };
    const { id } = newOrder();
    await append(store, { type: "Order", id }, [touched, touched, touched]);
    const loaded = { state: [], version: 3 };
    assert.deepEqual(await loadAggregate(store, definition, id), loaded);
    const decision = () => [created, closed, touched];
    const { state, version } = await decide(store, definition, id, decision, { retries: 0 });
    assert.deepEqual([state, version], [["Placed", ...parts], 6]);
    const transact = () =>
      store.sql.begin((transaction) =>
        decide(store, definition, id, () => [touched, created], { retries: 0, transaction }),
      );
    assert.deepEqual((await transact()).state, ["Placed", ...parts, "Placed"]);
    assert.deepEqual(await loadAggregate(store, definition, id), {
      state: ["Placed", ...parts, "Placed"],
      version: 8,
    });
    const saved =
      await database.sql`select aggregate_version as version from event_store.snapshot where state is not null
      and stream_id = event_store.stream_id_of('Order', ${id})`;
    assert.deepEqual([...saved], snapshots === undefined ? [] : [{ version: 8 }]);
  }
});

/** A projection that records the calls of `handle`. */
function recording(events: readonly string[] | undefined, options: Partial<ProjectOptions> = {}) {
  const calls: (readonly [string, number])[][] = [];
  const projection: ProjectOptions = {
    name: "recording",
    version: 1,
    ...(events === undefined ? {} : { events }),
    handle: async (handled) => {
      calls.push(handled.map(({ type, aggregateVersion }) => [type, aggregateVersion] as const));
    },
    ...options,
  };
  return { calls, projection };
}

for (const batchSize of [1, 3, 1000]) {
  test(`project() handles what events became, by its new names, with batches of ${batchSize}`, async () => {
    await using database = await withDatabase();
    await using stores = await openStores(database);
    const { store } = stores;
    await append(store, newOrder(), mixed);
    for (const [index, events] of [undefined, ["Paid", "Placed"], ["Shipped"], ["Created", "Closed"]].entries()) {
      const options = { name: `recording_${index}`, batchSize, partitions: 1 + (index % 2), stopWhenCaughtUp: true };
      const { calls, projection } = recording(events, options);
      assert.equal(await project(store, projection), "caught-up");
      const wanted = expected(mixed).filter(([type]) => events?.includes(type) ?? true);
      assert.deepEqual(calls.flat(), wanted);
      assert.ok(calls.every((call) => call.length > 0));
      // Parts are handled by one call.
      const versions = calls.flatMap((call) => [...new Set(call.map(([, version]) => version))]);
      assert.equal(versions.length, new Set(versions).size);
      const rows = await store.sql`
        select min(checkpoint) = max(global_position) as "isDone", to_jsonb(version.events) as events
        from event_store.domain_event, read_model.projection join read_model.projection_version as version
        using (name, version) where name = ${projection.name} group by version.events`;
      assert.deepEqual([...rows], [{ isDone: true, events: events ?? [] }]);
    }
  });
}

test("a running projection passes events that are dropped; other upcasters need no other version", async () => {
  await using database = await withDatabase();
  await using stores = await openStores(database);
  const { calls, projection } = recording(["Placed"]);
  const order = newOrder();
  const moves = async (store: EventStore, events: readonly DomainEvent[]) => {
    const { lastPosition } = await appendEvents(store, order, events);
    await untilHandled(store, projection.name, lastPosition);
  };
  await using run = runInBackground(stores.store, projection);
  await moves(stores.store, [placed, ...Array.from({ length: 5 }, () => closed)]);
  await moves(stores.store, [closed]);
  await run.stop();
  await using later = openTestStore(database, { upcasters: { Closed: { 1: { into: { Placed: 2 } } } } });
  await using _ = runInBackground(later, projection);
  await moves(later, [closed]);
  assert.deepEqual(calls, [[["Placed", 1]], [["Placed", 8]]]);
});

test("a dead letter is the stored event; later events follow it, and a replay handles what they become", async () => {
  await using database = await withDatabase();
  const [order, other] = [newOrder(), newOrder()];
  const broken = {
    ...upcasters,
    Closed: {
      1: {
        ...upcasters.Closed[1],
        rewrite: (data: { amount: number }, { aggregate, aggregateVersion }: RecordedEvent) =>
          aggregate.id === order.id && aggregateVersion === 2
            ? [{ type: "Placed", data: {} }]
            : upcasters.Closed[1].rewrite(data),
      },
    },
  };
  await using strict = openTestStore(database, { upcasters: broken, logger: false });
  const quickly = { maxAttempts: 2, retryPauseMs: 1, stopWhenCaughtUp: true };
  const { calls, projection } = recording(["Paid"], quickly);
  await append(strict, order, [closed, closed, touched, created, closed]);
  await append(strict, other, [closed]);
  assert.equal(await project(strict, projection), "caught-up");
  assert.deepEqual(calls.flat(), [...Array(2).fill(["Paid", 1]), ...Array(2).fill(["Paid", 1])]);
  const letters = await readDeadLetters(strict, projection.name);
  assert.deepEqual(
    letters.map(({ stream, event, attempts }) => [stream, event, attempts]),
    // The others are of types that cannot become Paid.
    [
      [order.id, 2, 2],
      [order.id, 5, 0],
    ],
  );
  const why = "its into is Paid, Shipped$";
  const message = `upcaster of Closed version 1 failed for event 2 of Order ${order.id}: .*of type "Placed", but ${why}`;
  assert.match(letters[0]?.error ?? "", new RegExp(message));
  await assert.rejects(Array.fromAsync(readStream(strict, order)), new RegExp(message));
  await assert.rejects(Array.fromAsync(readAll(strict)), new RegExp(message));
  const types = await strict.sql`select event_type as type from read_model.dead_letter order by aggregate_version`;
  assert.deepEqual([...types], [{ type: "Closed" }, { type: "Closed" }]);

  const rewrite = (_: unknown, { aggregateVersion }: RecordedEvent) =>
    (aggregateVersion === 2 ? ["Placed"] : ["Paid", "Placed", "Paid"]).map((type) => ({ type, data: {} }));
  await using fixed = openTestStore(database, {
    upcasters: { Closed: { 1: { into: { Paid: 1, Placed: 2 }, rewrite } } },
  });
  const replayed = recording(["Paid"]);
  assert.deepEqual(await replayDeadLetters(fixed, replayed.projection), { replayed: 2, remaining: 0 });
  assert.deepEqual(replayed.calls, [Array(2).fill(["Paid", 5])]);
});

test("a handler that fails at one part fails the event: what it wrote for the others is rolled back", async () => {
  await using database = await withDatabase();
  await using stores = await openStores(database);
  const { store } = stores;
  const order = newOrder();
  await append(store, order, [placed, closed, placed]);
  const { projection } = recording(undefined, {
    maxAttempts: 2,
    retryPauseMs: 1,
    stopWhenCaughtUp: true,
    relations: { names: ["part"], create: (tx) => tx`create table part (type text, version integer)` },
    handle: async (events, tx) => {
      for (const { type, aggregateVersion } of events) {
        if (type === "Shipped") throw new Error("not shipped");
        await tx`insert into part values (${type}, ${aggregateVersion})`;
      }
    },
  });
  assert.equal(await project(store, projection), "caught-up");
  const rows = await store.sql`select type, version from read_model.part`;
  assert.deepEqual([...rows], [{ type: "Placed", version: 1 }]);
  const letters = await readDeadLetters(store, projection.name);
  assert.deepEqual(
    letters.map(({ event, attempts }) => [event, attempts]),
    [
      [2, 2],
      [3, 0],
    ],
  );
});
