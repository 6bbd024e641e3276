import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointAfter, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { replayDeadLetters } from "../../scripts/lib/event-store/projection/dead-letters.ts";
import { ProjectionBehind, readProjectionLag, waitUntil } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { partitionOf } from "../../scripts/lib/event-store/projection/pump.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { streamIdOf } from "../../scripts/lib/event-store/stream-id.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import {
  checkJournal,
  eventually,
  journal,
  readJournal,
  runInBackground,
  untilHandled,
} from "../support/projection.ts";

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

async function appendOrders(count: number, eventsEach: number): Promise<Aggregate[]> {
  const orders = Array.from({ length: count }, newOrder);
  for (let round = 0; round < eventsEach; round++) {
    await Promise.all(orders.map((order) => appendEvents<OrderEvent>(store, order, [orderPlaced])));
  }
  return orders;
}

test("project() handles each event once, in the order of its stream, at any batch size", async () => {
  await appendOrders(20, 3);
  for (const batchSize of [1, 7, 1000]) {
    const definition = journal(`once_${batchSize}`);
    assert.equal(await project(store, { ...definition, batchSize, stopWhenCaughtUp: true }), "caught-up");
    await checkJournal(store, definition.name);
  }
});

test("four partitions keep the order of each stream, and each gets only its own streams", async () => {
  const definition = journal("partitioned");
  const orders = await appendOrders(40, 5);
  let atWork = 0;
  let most = 0;
  const handle: typeof definition.handle = async (events, tx) => {
    most = Math.max(most, ++atWork);
    // The first batch of each partition waits for those of the others.
    await eventually(() => most === 4);
    assert.equal(new Set(events.map(({ streamId }) => partitionOf(streamId, 4))).size, 1);
    await tx`select pg_sleep(${Math.random() / 100})`;
    await definition.handle(events, tx);
    atWork--;
  };
  await project(store, { ...definition, handle, partitions: 4, batchSize: 50, stopWhenCaughtUp: true });
  await checkJournal(store, definition.name);
  assert.equal(most, 4);
  assert.ok(orders.length > 0);
});

test("a changed number of partitions takes effect once the old ones have reached the same position", async () => {
  const definition = journal("divided");
  const orders = await appendOrders(30, 4);
  const stuck = partitionOf(streamIdOf(orders[0] as Aggregate), 4);
  // One partition of four stops halfway, as if the process had been killed.
  const controller = new AbortController();
  const handle: typeof definition.handle = async (events, tx) => {
    if (partitionOf(events[0]?.streamId ?? "", 4) === stuck) {
      await eventually(async () => (await positions(definition.name)).filter((position) => position > 0n).length === 3);
      await tx`select from no_such_table`;
    }
    await definition.handle(events, tx);
  };
  const stopped = project(store, {
    ...definition,
    handle,
    partitions: 4,
    batchSize: 10_000,
    signal: controller.signal,
  });
  await assert.rejects(stopped, { code: "42P01" });
  assert.equal(new Set(await positions(definition.name)).size, 2);
  // Some partitions have already handled their part of this page.
  await appendOrders(5, 1);
  await project(store, { ...definition, partitions: 3, batchSize: 10_000, stopWhenCaughtUp: true });
  assert.equal((await positions(definition.name)).length, 3);
  await checkJournal(store, definition.name);
});

async function positions(name: string): Promise<bigint[]> {
  const rows = await store.sql<{ checkpoint: bigint }[]>`
    select checkpoint from read_model.projection where name = ${name} order by partition`;
  return rows.map(({ checkpoint }) => checkpoint);
}

test("a batch that fails with a serialisation failure or a deadlock is rolled back and retried", async () => {
  const definition = journal("retried");
  await appendOrders(3, 1);
  const codes = ["40001", "40P01"];
  const sizes: number[] = [];
  const handle: typeof definition.handle = async (events, tx) => {
    sizes.push(events.length);
    await definition.handle(events, tx);
    const code = codes.pop();
    if (code !== undefined) await tx`do ${tx.unsafe(`$$begin raise exception 'no' using errcode = '${code}'; end$$`)}`;
  };
  await project(store, { ...definition, handle, batchSize: 10_000, stopWhenCaughtUp: true });
  await checkJournal(store, definition.name);
  // The same batch is retried as a whole: none of its events is at fault.
  assert.deepEqual(sizes, Array(3).fill(sizes[0]));
  assert.deepEqual(codes, []);
  assert.equal((await lagOf(definition.name))?.deadLetters, 0);
});

test("a failing event and the later ones of its stream become dead letters, and are replayed in order", async () => {
  const definition = journal("poisoned");
  const [poisoned, ...others] = await appendOrders(5, 1);
  assert.ok(poisoned !== undefined);
  let isFixed = false;
  const handle = async (events: readonly RecordedEvent[], tx: Parameters<typeof definition.handle>[1]) => {
    const isPoison = (event: RecordedEvent) => event.aggregate.id === poisoned.id && event.aggregateVersion === 2;
    if (!isFixed && events.some(isPoison)) throw new TypeError("total is undefined");
    await definition.handle(events as never, tx);
  };
  const poisonable = { ...definition, handle };
  await using run = runInBackground(store, { ...poisonable, maxAttempts: 2, retryPauseMs: 1 });
  const append = (order: Aggregate) => appendEvents<OrderEvent>(store, order, [orderPlaced]);
  await append(poisoned);
  const { lastPosition } = await append(others[0] as Aggregate);
  await untilHandled(store, definition.name, lastPosition);
  const later = await append(poisoned);
  await untilHandled(store, definition.name, later.lastPosition);
  const letters = await store.sql`
    select aggregate_version, attempts, error from read_model.dead_letter
    where name = ${definition.name} order by aggregate_version`;
  assert.deepEqual(
    [...letters].map((letter) => Object.values(letter)),
    [
      [2, 2, "TypeError: total is undefined"],
      [3, 0, null],
    ],
  );
  const seen = await readJournal(store, definition.name);
  assert.deepEqual(seen.get(streamIdOf(poisoned)), [1]);
  assert.deepEqual(seen.get(streamIdOf(others[0] as Aggregate)), [1, 2]);
  assert.equal((await lagOf(definition.name))?.deadLetters, 2);
  assert.deepEqual(await replayDeadLetters(store, poisonable), { replayed: 0, remaining: 2 });
  isFixed = true;
  assert.deepEqual(await replayDeadLetters(store, poisonable), { replayed: 2, remaining: 0 });
  const last = await append(poisoned);
  await untilHandled(store, definition.name, last.lastPosition);
  await run.stop();
  await checkJournal(store, definition.name);
});

test("an event whose handler rejects with undefined becomes a dead letter too", async () => {
  const definition = journal("rejects_undefined");
  await appendOrders(1, 1);
  const handle = () => Promise.reject(undefined);
  await project(store, { ...definition, handle, maxAttempts: 1, stopWhenCaughtUp: true });
  const [letters] = await store.sql`
    select count(*)::integer as count, min(error) as error from read_model.dead_letter where name = ${definition.name}`;
  const [events] = await store.sql`select count(*)::integer as count from event_store.domain_event`;
  assert.deepEqual({ ...letters }, { count: events?.["count"], error: "undefined" });
});

async function lagOf(name: string) {
  return (await readProjectionLag(store)).find((lag) => lag.name === name);
}

test("a handler that does not match its tables ends the run without a dead letter", async () => {
  const definition = journal("misfit");
  await appendOrders(1, 1);
  const handle: typeof definition.handle = (_, tx) => tx`insert into no_such_table values (1)`;
  await assert.rejects(project(store, { ...definition, handle, stopWhenCaughtUp: true }), { code: "42P01" });
  assert.equal((await lagOf(definition.name))?.deadLetters, 0);
  await project(store, { ...definition, stopWhenCaughtUp: true });
  await checkJournal(store, definition.name);
});

test("waitUntil() returns once readers see what was appended, or says how far behind they are", async () => {
  const definition = journal("awaited");
  const waiting = waitUntil(store, definition.name, logStart, { timeoutMs: 1_500 });
  await assert.rejects(waiting, (error) => error instanceof ProjectionBehind && /no version/.test(error.message));
  await using run = runInBackground(store, definition);
  for (let round = 0; round < 5; round++) {
    const order = newOrder();
    const { lastPosition } = await appendEvents<OrderEvent>(store, order, [orderPlaced]);
    await waitUntil(store, definition.name, checkpointAfter({ position: lastPosition }), { timeoutMs: 60_000 });
    assert.deepEqual((await readJournal(store, definition.name)).get(streamIdOf(order)), [1]);
  }
  await run.stop();
  const { lastPosition } = await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
  const late = waitUntil(store, definition.name, checkpointAfter({ position: lastPosition }), { timeoutMs: 1_500 });
  await assert.rejects(late, /did not reach the checkpoint within 1500 ms: it is at position \d+, 1 behind$/);
});

test("project() refuses invalid options, and a version below the one that serves", async () => {
  const definition = journal("refused");
  await assert.rejects(project(store, { ...definition, partitions: 0 }), InvalidInput);
  await project(store, { ...definition, version: 2, stopWhenCaughtUp: true });
  await assert.rejects(project(store, definition), /version 1 of the projection refused is older than version 2/);
});

test("projection_lag counts unhandled events, and names the session that holds readers back", async () => {
  const definition = journal("held");
  await project(store, { ...definition, stopWhenCaughtUp: true });
  assert.deepEqual(await lagOf(definition.name).then((lag) => [lag?.lagEvents, lag?.lagSeconds, lag?.holder]), [
    0,
    0,
    null,
  ]);
  const holder = openTestStore(database, { applicationName: "holds the log" });
  await using _ = holder;
  await holder.sql
    .begin(async (tx) => {
      const [session] = await tx`select pg_backend_pid() as pid`;
      await appendEvents<OrderEvent>(holder, newOrder(), [orderPlaced], { transaction: tx as never });
      await appendOrders(2, 1);
      await project(store, { ...definition, stopWhenCaughtUp: true });
      const lag = await lagOf(definition.name);
      assert.deepEqual([lag?.lagEvents, lag?.owner, lag?.holder?.gid], [2, null, null]);
      assert.deepEqual([lag?.holder?.pid, lag?.holder?.applicationName], [session?.["pid"], "holds the log"]);
      assert.ok((lag?.lagSeconds ?? 0) > 0);
      throw new Error("rolled back");
    })
    .catch((error: Error) => assert.equal(error.message, "rolled back"));
  await project(store, { ...definition, stopWhenCaughtUp: true });
  await checkJournal(store, definition.name);
});

test("project() handles all types by default, survives a lost connection, and ends with its store", async () => {
  const { events: _, ...definition } = journal("unfiltered");
  const own = openTestStore(database, { applicationName: "is cut off" });
  const ended = assert.rejects(project(own, definition), { code: "CONNECTION_ENDED" });
  for (let round = 0; round < 3; round++) {
    await appendEvents(store, newOrder(), [orderPlaced]);
    const { lastPosition } = await appendEvents(store, newOrder(), [{ type: "AnythingElse", data: {} }]);
    await untilHandled(store, definition.name, lastPosition);
    await database.admin`
      select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'is cut off'`;
  }
  await own[Symbol.asyncDispose]();
  await ended;
  await checkJournal(store, definition.name);
});
