import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput, VersionConflict } from "../../scripts/lib/event-store/errors.ts";
import type { RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { readProjectionLag } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore, EventStoreOptions } from "../../scripts/lib/event-store/store.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { checkJournal, journal, readJournal, untilHandled } from "../support/projection.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

type Definition = ProjectionDefinition<OrderEvent>;

/** Handles only this test's events: other tests fill the same log. */
function inline(definitions: Definition | readonly Definition[], options: Partial<EventStoreOptions> = {}): EventStore {
  return openTestStore(database, { ...options, inlineProjections: [definitions].flat() });
}

/** @returns events of a type that only one test appends */
function eventsOf(type: string, count: number) {
  return Array.from({ length: count }, (_, index) => ({ type, data: { total: index } }));
}

/** A journal of one type of events. */
function journalOf(name: string, version = 1): Definition {
  return { ...journal(name, version), events: [name as "OrderPlaced"] };
}

const counter = {
  type: "Order",
  initialState: () => 0,
  evolve: (count: number) => count + 1,
};

test("an append and its inline projection commit together, with the events as they are read", async () => {
  const seen: RecordedEvent[] = [];
  const definition = journalOf("together");
  const handle: Definition["handle"] = async (events, tx) => {
    seen.push(...events);
    await definition.handle(events, tx);
  };
  await using store = inline({ ...definition, handle });
  const order = newOrder();
  await appendEvents(store, order, eventsOf("together", 2));
  const { events } = await appendEvents(store, order, [
    { type: "together", data: { total: 3, at: new Date(0) }, metadata: { user: "ada" }, version: 2 },
  ]);
  assert.deepEqual(await readJournal(store, "together"), new Map([[seen[0]?.streamId, [1, 2, 3]]]));
  assert.deepEqual(seen, await Array.fromAsync(readStream(store, order)));
  assert.equal(seen.at(-1)?.position, events[0]?.position);
});

test("upcasters rename, split and drop the events of an append before an inline projection handles them", async () => {
  const seen: (readonly [string, number, number])[] = [];
  const definition: Definition = {
    name: "upcasted",
    version: 1,
    events: ["upcasted_new" as "OrderPlaced"],
    async handle(events) {
      seen.push(
        ...events.map(
          ({ type, aggregateVersion, data }) => [type, aggregateVersion, (data as { total: number }).total] as const,
        ),
      );
    },
  };
  const upcasters = {
    upcasted_old: {
      1: {
        into: { upcasted_new: 1, upcasted_other: 1 },
        rewrite: ({ total }: { total: number }) => [
          { type: "upcasted_new", data: { total } },
          { type: "upcasted_other", data: {} },
          { type: "upcasted_new", data: { total: -total } },
        ],
      },
    },
    upcasted_new: { 7: { into: {} } },
  };
  await using store = inline(definition, { upcasters });
  const order = newOrder();
  await appendEvents(store, order, [
    ...eventsOf("upcasted_other", 1),
    ...eventsOf("upcasted_old", 2),
    ...eventsOf("upcasted_new", 1),
    { type: "upcasted_new", data: { total: 5 }, version: 7 },
  ]);
  await appendEvents(store, order, [{ type: "upcasted_new", data: { total: 5 }, version: 7 }]);
  assert.deepEqual(seen, [
    ["upcasted_new", 2, 0],
    ["upcasted_new", 2, -0],
    ["upcasted_new", 3, 1],
    ["upcasted_new", 3, -1],
    ["upcasted_new", 4, 0],
  ]);
  // An event under its old name counts as one that the projection has not handled.
  await using plain = openTestStore(database);
  await appendEvents(plain, order, eventsOf("upcasted_old", 1));
  await using next = inline({ ...definition, name: "upcasted_next" }, { upcasters });
  await assert.rejects(appendEvents(next, order, eventsOf("upcasted_new", 1)), InvalidInput);
});

test("whatever the handler throws rejects the append, and nothing is stored", async () => {
  const definition = journalOf("thrown");
  for (const thrown of [new Error("no"), undefined, null, 7, { code: "40001" }, { code: "ECONNREFUSED" }]) {
    let calls = 0;
    const handle: Definition["handle"] = async (events, tx) => {
      calls++;
      await definition.handle(events, tx);
      throw thrown;
    };
    await using store = inline({ ...definition, handle });
    const order = newOrder();
    const failed = await appendEvents(store, order, eventsOf("thrown", 1)).then(
      () => assert.fail("it was stored"),
      (error: unknown) => ({ error }),
    );
    assert.deepEqual([failed.error, calls], [thrown, 1]);
    assert.equal((await loadAggregate(store, counter, order.id)).version, 0);
    assert.equal((await readJournal(store, "thrown")).size, 0);
  }
});

test("a statement that fails rejects the append, even if the handler goes on", async () => {
  const definition = journalOf("swallowed");
  const handle: Definition["handle"] = async (_events, tx) => {
    await tx`select 1 / 0`.catch(() => undefined);
  };
  await using store = inline({ ...definition, handle });
  const order = newOrder();
  await assert.rejects(appendEvents(store, order, eventsOf("swallowed", 1)), /division by zero/);
  await assert.rejects(
    store.transaction((tx) => appendEvents(store, order, eventsOf("swallowed", 1), { transaction: tx })),
    /division by zero/,
  );
  assert.equal((await loadAggregate(store, counter, order.id)).version, 0);
});

test("a handler that ends its transaction is refused", async () => {
  for (const command of ["commit", "rollback", "commit; begin"]) {
    const name = `ended by ${command}`;
    const handle: Definition["handle"] = (_events, tx) => tx.unsafe(command);
    await using store = inline({ name, version: 1, events: [name as "OrderPlaced"], handle });
    await assert.rejects(appendEvents(store, newOrder(), eventsOf(name, 1)), /ended its transaction with COMMIT/);
  }
});

test("of many appends in one batch, only those that the handler refuses are rejected", async () => {
  const definition = journalOf("batch");
  const handle: Definition["handle"] = async (events, tx) => {
    await definition.handle(events, tx);
    if (events.some(({ data }) => (data as { total: number }).total === 13)) throw new Error("13");
  };
  await using store = inline({ ...definition, handle });
  const append = (total: number) => appendEvents(store, newOrder(), [{ type: "batch", data: { total } }]);
  const outcomes = await Promise.allSettled(Array.from({ length: 100 }, (_, index) => append(index % 40)));
  const rejected = outcomes.flatMap((outcome, index) => (outcome.status === "rejected" ? [index] : []));
  assert.deepEqual(rejected, [13, 53, 93]);
  assert.equal((await readJournal(store, "batch")).size, 97);
});

test("appends of one stream keep their order, whether a projection handles them or not", async () => {
  const definition = journalOf("ordered");
  await using store = inline(definition);
  const orders = Array.from({ length: 20 }, newOrder);
  const work = orders.flatMap((order, index) =>
    Array.from({ length: 10 }, (_, round) => {
      const type = (index + round) % 3 === 0 ? "ordered" : "unhandled";
      return appendEvents(store, order, [{ type, data: { round } }], { expectedVersion: round });
    }),
  );
  await Promise.all(work);
  const rows = await store.sql<{ count: number }[]>`
    select count(*)::integer as count from event_store.domain_event where event_type = 'ordered'`;
  const versions = [...(await readJournal(store, "ordered")).values()];
  assert.equal(versions.flat().length, rows[0]?.count);
  for (const seen of versions)
    assert.deepEqual(
      seen,
      seen.toSorted((one, other) => one - other),
    );
});

test("an append that no projection handles does not wait for a handler", async () => {
  const entered = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const handle = async () => {
    entered.resolve();
    await release.promise;
  };
  await using store = inline({ ...journalOf("slow"), handle });
  const slow = appendEvents(store, newOrder(), eventsOf("slow", 1));
  await entered.promise;
  await appendEvents(store, newOrder(), [orderPlaced]);
  release.resolve();
  await slow;
});

test("a retry that is a duplicate does not run the handler again", async () => {
  await using store = inline(journalOf("repeated"));
  const order = newOrder();
  const events = [{ type: "repeated", id: crypto.randomUUID(), data: {} }];
  await appendEvents(store, order, events);
  assert.equal((await appendEvents(store, order, events)).isDuplicate, true);
  await store.transaction(async (tx) => {
    assert.equal((await appendEvents(store, order, events, { transaction: tx })).isDuplicate, true);
  });
  assert.deepEqual([...(await readJournal(store, "repeated")).values()], [[1]]);
});

test("decide() with a conflict runs the handler once", async () => {
  await using store = inline(journalOf("decided"));
  await using other = openTestStore(database);
  const order = newOrder();
  let attempts = 0;
  const { version } = await decide(store, counter, order.id, async () => {
    if (attempts++ === 0) await appendEvents(other, order, [orderPlaced]);
    return eventsOf("decided", 1);
  });
  assert.deepEqual([version, attempts], [2, 2]);
  assert.deepEqual([...(await readJournal(store, "decided")).values()], [[2]]);
});

test("in the caller's transaction, a handler that throws takes back only its append", async () => {
  const definition = journalOf("own");
  let shouldFail = false;
  const handle: Definition["handle"] = async (events, tx) => {
    await definition.handle(events, tx);
    if (shouldFail) throw undefined;
  };
  await using store = inline({ ...definition, handle });
  const order = newOrder();
  await store.transaction(async (tx) => {
    await tx`set local search_path = command_model`;
    await appendEvents(store, order, eventsOf("own", 1), { transaction: tx });
    shouldFail = true;
    await assert.rejects(
      appendEvents(store, order, eventsOf("own", 1), { transaction: tx }),
      (error) => error === undefined,
    );
    shouldFail = false;
    await decide(store, counter, order.id, () => eventsOf("own", 1), { transaction: tx });
    const [row] = await tx<{ search_path: string }[]>`show search_path`;
    assert.equal(row?.search_path, "command_model");
    assert.equal((await readJournal(store, "own")).size, 0);
  });
  assert.deepEqual([...(await readJournal(store, "own")).values()], [[1, 2]]);
});

test("a transaction that rolls back takes back what the handler wrote", async () => {
  await using store = inline(journalOf("undone"));
  const work = store.transaction(async (tx) => {
    await appendEvents(store, newOrder(), eventsOf("undone", 1), { transaction: tx });
    throw new Error("changed my mind");
  });
  await assert.rejects(work, /changed my mind/);
  assert.equal((await readJournal(store, "undone")).size, 0);
});

test("transactions that the handler cannot run in are refused", async () => {
  await using store = inline(journalOf("isolated"));
  const append = (transaction: Parameters<typeof appendEvents>[3]) =>
    appendEvents(store, newOrder(), eventsOf("isolated", 1), transaction);
  await store.sql.begin("isolation level repeatable read", async (transaction) => {
    await assert.rejects(append({ transaction }), /need a READ COMMITTED transaction; this one is repeatable read/);
  });
  const reserved = await store.sql.reserve();
  try {
    await assert.rejects(append({ transaction: reserved }), /not a reserved connection/);
  } finally {
    reserved.release();
  }
});

test("upcasters apply, and several projections each get their own events", async () => {
  const seen: unknown[] = [];
  const definition = (name: string, events: readonly string[]): Definition => ({
    name,
    version: 1,
    events: events as Definition["events"] & {},
    handle: async (given) => {
      for (const event of given) {
        seen.push([name, event.type, event.version, { ...event.data }]);
        Object.assign(event.data, { spoilt: true });
      }
    },
  });
  const upcasters = { upA: { 1: (data: { total: number }) => ({ ...data, currency: "EUR" }) } };
  await using store = inline([definition("first", ["upA"]), definition("second", ["upA", "upB"])], { upcasters });
  await appendEvents(store, newOrder(), [
    { type: "upA", data: { total: 1 } },
    { type: "upB", data: { total: 2 } },
  ]);
  assert.deepEqual(seen, [
    ["first", "upA", 2, { total: 1, currency: "EUR" }],
    ["second", "upA", 2, { total: 1, currency: "EUR" }],
    ["second", "upB", 1, { total: 2 }],
  ]);
});

test("the handler gets what was appended, even if the caller changes it meanwhile", async () => {
  const seen: unknown[] = [];
  const handle: Definition["handle"] = async (events) => void seen.push(...events.map(({ data }) => data));
  await using store = inline({ ...journalOf("changed"), handle });
  const event = { type: "changed", data: { total: 1 } };
  const append = appendEvents(store, newOrder(), [event]);
  event.data.total = 2;
  await append;
  assert.deepEqual(seen, [{ total: 1 }]);
});

test("refresh runs after the handler, in the same transaction", async () => {
  const definition = journalOf("refreshed");
  const refresh: Definition["refresh"] = async (tx) => {
    const [row] = await tx<{ count: number }[]>`select count(*)::integer as count from journal_refreshed`;
    if (row?.count === 2) throw new Error("two are too many");
  };
  await using store = inline({ ...definition, refresh });
  await appendEvents(store, newOrder(), eventsOf("refreshed", 1));
  await assert.rejects(appendEvents(store, newOrder(), eventsOf("refreshed", 1)), /two are too many/);
  assert.equal((await readJournal(store, "refreshed")).size, 1);
});

test("one stream's concurrent writers are serialised, and refused ones are not handled", async () => {
  await using one = inline(journalOf("raced"));
  await using other = inline(journalOf("raced"));
  const order = newOrder();
  const outcomes = await Promise.allSettled(
    Array.from({ length: 40 }, (_, index) =>
      appendEvents(index % 2 === 0 ? one : other, order, eventsOf("raced", 1), { expectedVersion: index % 20 }),
    ),
  );
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") assert.ok(outcome.reason instanceof VersionConflict, String(outcome.reason));
  }
  const { version } = await loadAggregate(one, counter, order.id);
  assert.deepEqual([...(await readJournal(one, "raced")).values()], [Array.from({ length: version }, (_, i) => i + 1)]);
});

test("the lag, waitUntil() and project() know that a projection runs inline", async () => {
  const definition = journalOf("known");
  await using store = inline(definition);
  const { lastPosition } = await appendEvents(store, newOrder(), eventsOf("known", 1));
  await untilHandled(store, "known", lastPosition);
  const lag = (await readProjectionLag(store)).find(({ name }) => name === "known");
  assert.deepEqual([lag?.owner, lag?.lagEvents, lag?.status], ["inline", 0, "serving"]);
  await assert.rejects(
    project(store, { ...definition, stopWhenCaughtUp: true }),
    (error: Error) =>
      error instanceof InvalidInput && /this store runs version 1 of the projection known inline/.test(error.message),
  );
});

test("invalid inline projections are refused when the store is opened", () => {
  const definition = journalOf("invalid");
  assert.throws(() => inline([definition, definition]), /two projections with the name invalid/);
  assert.throws(() => inline({ ...definition, version: 0 }), /version of the projection invalid must be an integer/);
  assert.throws(() => inline({ ...definition, events: [] }), /must name at least one type/);
  assert.throws(() => inline({ ...definition, nmae: "x" } as never), /inlineProjections has no option "nmae"/);
  assert.throws(
    () => inline({ name: "invalid", version: 1 } as never),
    /handle of the projection invalid must be a function/,
  );
  assert.throws(
    () => openTestStore(database, { inlineProjections: definition as never }),
    /must be an array of projections/,
  );
});

test("a projection without a list of events gets all of them, as an asynchronous one does", async () => {
  await using own = await withDatabase();
  const { events: _, ...definition } = journal("all");
  await using store = openTestStore(own, { inlineProjections: [definition] });
  const orders = Array.from({ length: 10 }, newOrder);
  for (let round = 0; round < 3; round++) {
    await Promise.all(orders.map((order) => appendEvents<OrderEvent>(store, order, [orderPlaced])));
  }
  await checkJournal(store, "all");
});
