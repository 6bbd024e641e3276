import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import type { DomainEvent, ProjectionDefinition, Sql, Transaction } from "../../scripts/lib/index.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { terminate } from "../support/session.ts";

let database: TestDatabase;
let store: EventStore;
before(async () => {
  database = await withDatabase();
  // One connection: whatever needs a second one would wait until it times out.
  store = openTestStore(database, { maxConnections: 1, logger: false });
  await store.sql`create table command_model.note (text text primary key)`;
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const counter = { type: "Order", initialState: () => 0, evolve: (count: number) => count + 1 };

async function countNotes(sql: Sql, like = "%"): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from command_model.note where text like ${like}`;
  return row?.count ?? 0;
}

/** Typed with the exported type, it serves transactions of every origin. */
async function note(tx: Transaction, text: string): Promise<void> {
  await tx.savepoint((savepoint) => savepoint`insert into command_model.note values (${text})`);
}

test("decisions, reads, appends and the caller's statements share one transaction", async () => {
  const order = newOrder();
  const answer = await store.transaction(async (tx) => {
    await appendEvents<OrderEvent>(store, order, [orderPlaced], { transaction: tx });
    const { version } = await decide(store, counter, order.id, () => [orderPlaced], { transaction: tx });
    const { state } = await loadAggregate(store, counter, order.id, { transaction: tx });
    const events = await Array.fromAsync(readStream(store, order, { transaction: tx }));
    const all = await Array.fromAsync(readAll(store, { transaction: tx }));
    await note(tx, "shared");
    await tx.unsafe("insert into command_model.note values ('unsafe')");
    return [version, state, events.length, all.length];
  });
  assert.deepEqual(answer, [2, 2, 2, 0]);
  assert.equal(await countNotes(store.sql), 2);
});

test("one function, typed with Transaction, serves store.transaction(), sql.begin() and a projection", async () => {
  const order = newOrder();
  await store.transaction((tx) => note(tx, "typed 1"));
  await store.sql.begin((tx) => note(tx, "typed 2"));
  const definition: ProjectionDefinition<DomainEvent<"Typed">> = {
    name: "typed",
    version: 1,
    events: ["Typed"],
    handle: (events, tx) => note(tx, `typed ${events[0]?.aggregateVersion}${events.length}`),
  };
  await appendEvents(store, order, [{ type: "Typed", data: {} }]);
  await project(store, { ...definition, stopWhenCaughtUp: true });
  assert.equal(await countNotes(store.sql, "typed %"), 3);
});

test("what the work resolves to or rejects with reaches the caller unchanged", async () => {
  const promise = Promise.resolve(1);
  const array = await store.transaction(async () => [promise, 2]);
  assert.equal(array[0], promise);
  for (const thrown of [undefined, null, 0, { code: "57P01" }, new Error("no")]) {
    const order = newOrder();
    const work = store.transaction(async (tx) => {
      await appendEvents(store, order, [orderPlaced], { transaction: tx });
      throw thrown;
    });
    const failed = await work.then(
      () => assert.fail("it has committed"),
      (error: unknown) => ({ error }),
    );
    assert.equal(failed.error, thrown);
    assert.equal((await loadAggregate(store, counter, order.id)).version, 0);
  }
});

test("a statement that failed rejects the transaction, even if the work goes on", async () => {
  const work = store.transaction(async (tx) => {
    await tx`select 1 / 0`.catch(() => undefined);
    return "done";
  });
  await assert.rejects(work, { code: "22012" });
});

test("a failed savepoint takes back only its own appends", async () => {
  const order = newOrder();
  await store.transaction(async (tx) => {
    await appendEvents(store, order, [orderPlaced], { transaction: tx });
    const inner = tx.savepoint(async (savepoint) => {
      await appendEvents(store, order, [orderPlaced], { transaction: savepoint });
      throw new Error("only this");
    });
    await assert.rejects(inner, /only this/);
  });
  assert.equal((await loadAggregate(store, counter, order.id)).version, 1);
});

test("a session that ends in the middle rejects with the server's reason, and nothing is stored", async () => {
  const order = newOrder();
  const work = store.transaction(async (tx) => {
    await appendEvents(store, order, [orderPlaced], { transaction: tx });
    const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await terminate(database.admin, row?.pid ?? 0);
    await note(tx, "lost");
  });
  await assert.rejects(work, { code: "57P01" });
  assert.equal((await loadAggregate(store, counter, order.id)).version, 0);
  assert.equal(await countNotes(store.sql, "lost"), 0);
});

test("transactions are READ COMMITTED, whatever the default of the server", async () => {
  await using own = await withDatabase();
  await own.admin.unsafe(`alter database ${own.name} set default_transaction_isolation = 'repeatable read'`);
  const inline: ProjectionDefinition<OrderEvent> = { name: "inline", version: 1, handle: async () => undefined };
  await using other = openTestStore(own, { inlineProjections: [inline] });
  await appendEvents<OrderEvent>(other, newOrder(), [orderPlaced]);
  await other.transaction((tx) => appendEvents<OrderEvent>(other, newOrder(), [orderPlaced], { transaction: tx }));
});

test("a transaction that is over takes no more appends", async () => {
  let left: Transaction | undefined;
  await store.transaction(async (tx) => {
    left = tx;
  });
  await assert.rejects(appendEvents(store, newOrder(), [orderPlaced], { transaction: left as Transaction }), {
    code: "TRANSACTION_OVER",
  });
  await assert.rejects(
    appendEvents(store, newOrder(), [orderPlaced], { transaction: store.sql }),
    (error) => error instanceof InvalidInput,
  );
});

test("only a transaction that has appended and committed notifies readers", async () => {
  let count = 0;
  const { unlisten } = await database.admin.listen("event_store_appended", () => void count++);
  await using own = openTestStore(database);
  await own.transaction(async (tx) => void (await tx`select 1`));
  const undone = own.transaction(async (tx) => {
    await appendEvents(own, newOrder(), [orderPlaced], { transaction: tx });
    throw new Error("no");
  });
  await assert.rejects(undone);
  await own.transaction((tx) =>
    tx.savepoint((savepoint) => appendEvents(own, newOrder(), [orderPlaced], { transaction: savepoint })),
  );
  // Closing waits for the notification; the next one then arrives behind it.
  await own[Symbol.asyncDispose]();
  let isMarked = false;
  const markers = await database.admin.listen("marker", () => {
    isMarked = true;
  });
  await database.admin.notify("marker", "");
  // A session that listens does not keep the process alive.
  assert.ok(await pollUntil(() => isMarked || undefined, { timeoutMs: 60_000, intervalMs: 5 }));
  assert.equal(count, 1);
  await unlisten();
  await markers.unlisten();
});

test("a subscription gets the events of a transaction once it has committed", async () => {
  await using own = openTestStore(database);
  const stop = new AbortController();
  const order = newOrder();
  const reader = (async () => {
    for await (const { events } of subscribe(own, { eventTypes: ["Awaited"], signal: stop.signal })) {
      // The first batch at the end of the log may have none.
      if (events.length > 0) return events.map(({ aggregate }) => aggregate.id);
    }
    return [];
  })();
  await own.transaction((tx) => appendEvents(own, order, [{ type: "Awaited", data: {} }], { transaction: tx }));
  assert.deepEqual(await reader, [order.id]);
  stop.abort();
});
