import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { readProjectionLag } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { checkJournal, eventually, journal, runInBackground, untilHandled } from "../support/projection.ts";
import { startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { bootstrapTestStack, openTestStack, silentRun, withCluster } from "../support/stack.ts";

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

const orders = Array.from({ length: 25 }, newOrder);

/** Appends until stopped. @returns the position of the last event */
function appendInBackground() {
  const controller = new AbortController();
  const ended = (async () => {
    let last = 0n;
    while (!controller.signal.aborted) {
      const chosen = orders.filter(() => Math.random() < 0.3);
      const results = await Promise.all(chosen.map((order) => appendEvents<OrderEvent>(store, order, [orderPlaced])));
      for (const { lastPosition } of results) if (lastPosition > last) last = lastPosition;
    }
    return last;
  })();
  const stop = () => {
    controller.abort();
    return ended;
  };
  return { stop, [Symbol.asyncDispose]: async () => void (await stop()) };
}

async function ownerOf(name: string): Promise<string | null | undefined> {
  const [row] = await store.sql<{ owner: string | null }[]>`
    select owner from read_model.projection_version where name = ${name} and status <> 'retired'`;
  return row?.owner;
}

test("what a previous owner does is rolled back once another has taken over", async () => {
  const definition = journal("zombie");
  await Promise.all(orders.map((order) => appendEvents<OrderEvent>(store, order, [orderPlaced])));
  const [paused, resumed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let calls = 0;
  const handle: typeof definition.handle = async (events, tx) => {
    await definition.handle(events, tx);
    if (++calls > 1) return;
    paused.resolve();
    await resumed.promise;
  };
  await using former = runInBackground(store, { ...definition, handle, leaseMs: 60_000 });
  await paused.promise;
  const formerOwner = await ownerOf(definition.name);
  // As if the previous owner had been suspended for longer than its lease.
  await store.sql`update read_model.projection_version set expires_at = now() where name = ${definition.name}`;
  await using next = runInBackground(store, { ...definition, leaseMs: 60_000 });
  const { lastPosition } = await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
  await untilHandled(store, definition.name, lastPosition);
  assert.notEqual(await ownerOf(definition.name), formerOwner);
  resumed.resolve();
  await next.stop();
  // The previous owner waits for the lease again, and continues where the next one stopped.
  const later = await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
  await untilHandled(store, definition.name, later.lastPosition);
  assert.equal(await ownerOf(definition.name), formerOwner);
  await former.stop();
  await checkJournal(store, definition.name);
});

test("a suspended owner with an open transaction holds locks no longer than its lease", async () => {
  const definition = journal("asleep");
  const [paused, resumed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isFirst = true;
  const handle: typeof definition.handle = async (events, tx) => {
    await definition.handle(events, tx);
    if (!isFirst) return;
    await tx`lock table journal_asleep in exclusive mode`;
    isFirst = false;
    paused.resolve();
    await resumed.promise;
  };
  const { lastPosition } = await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
  await using former = runInBackground(store, { ...definition, handle, leaseMs: 2_000 });
  await paused.promise;
  await store.sql`update read_model.projection_version set owner = null where name = ${definition.name}`;
  await using next = runInBackground(store, definition);
  await untilHandled(store, definition.name, lastPosition);
  resumed.resolve();
  await next.stop();
  await former.stop();
  await checkJournal(store, definition.name);
});

test("a process that is suspended before the commit of a batch handles it again, and the run goes on", async () => {
  await using own = await withDatabase();
  await using ownStore = openTestStore(own, { logger: false });
  const definition = journal("suspended");
  await appendEvents<OrderEvent>(ownStore, newOrder(), [orderPlaced, orderPlaced]);
  await using gate = openConnection(own.administrator);
  await gate.sql`select pg_advisory_lock(7)`;
  await own.admin.unsafe(`
    create function public.pass_gate() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(7); return new; end $$;
    create trigger gate before update of checkpoint on read_model.projection
      for each row when (new.checkpoint > 0) execute function public.pass_gate()`);
  const isWaiting = async (event: string) => {
    const rows = await own.admin`
      select from pg_stat_activity where datname = current_database() and wait_event = ${event}`;
    return rows.length > 0;
  };
  let calls = 0;
  const handle: typeof definition.handle = async (events, tx) => {
    calls++;
    await definition.handle(events, tx);
  };
  const outcome = project(ownStore, { ...definition, handle, leaseMs: 300, stopWhenCaughtUp: true });
  await eventually(() => isWaiting("advisory"));
  const opening = gate.sql`select pg_advisory_unlock(7) from pg_sleep(1)`.execute();
  await eventually(() => isWaiting("PgSleep"));
  // Blocks this process until the gate has opened and the server has ended the transaction, which is idle.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500);
  await opening;
  assert.equal(await outcome, "caught-up");
  assert.equal(calls, 2);
  await checkJournal(ownStore, "suspended");
});

test("each event takes effect once, however often workers are killed and others take over", async () => {
  const name = "killed";
  await using load = appendInBackground();
  const options = { leaseMs: 1_000, partitions: 2, batchSize: 20 };
  const owners = new Set<string>();
  for (let round = 0; round < testRounds(4); round++) {
    const args = [name, JSON.stringify(database.application), JSON.stringify(options)];
    const worker = startProgram("tests/support/fixtures/run-projection.ts", args);
    await worker.saw("handled");
    owners.add((await ownerOf(name)) ?? "");
    await sleep(Math.random() * 100);
    worker.kill("SIGKILL");
    await worker.ended;
  }
  assert.equal(owners.size, testRounds(4));
  await load.stop();
  await project(store, { ...journal(name), partitions: 2, stopWhenCaughtUp: true });
  await checkJournal(store, name);
});

test("a second process waits while the first one is alive", async () => {
  const definition = journal("waiting");
  await using first = runInBackground(store, { ...definition, leaseMs: 4_500 });
  await eventually(async () => typeof (await ownerOf(definition.name)) === "string");
  const owner = await ownerOf(definition.name);
  await using second = runInBackground(store, { ...definition, leaseMs: 150 });
  const heartbeat = async () => (await readProjectionLag(store)).find(({ name }) => name === "waiting")?.heartbeatAt;
  for (let beats = 0; beats < 3; beats++) {
    const before = await heartbeat();
    await eventually(async () => (await heartbeat())?.getTime() !== before?.getTime());
    assert.equal(await ownerOf(definition.name), owner);
  }
  await first.stop();
  await eventually(async () => ![owner, null].includes(await ownerOf(definition.name)));
  await second.stop();
});

test("a new version is built while the old one serves under load, and cuts over in one step", async () => {
  const name = "swapped";
  await using load = appendInBackground();
  await using old = runInBackground(store, journal(name));
  await eventually(async () => (await servingVersion(name)) === 1 && (await countRows(name)) > 20);
  let isBuilding = false;
  const definition = journal(name, 2);
  const handle: typeof definition.handle = async (events, tx) => {
    isBuilding ||= (await servingVersion(name)) === 1;
    await definition.handle(events, tx);
  };
  await using next = runInBackground(store, { ...definition, handle, batchSize: 50 });
  let last = 0;
  while ((await servingVersion(name)) === 1) {
    const count = await countRows(name);
    assert.ok(count >= last, `${count} after ${last}: readers saw an older state`);
    last = count;
  }
  assert.ok((await countRows(name)) >= last);
  assert.equal(await old.ended, "retired");
  assert.ok(isBuilding);
  const position = await load.stop();
  await untilHandled(store, name, position);
  await next.stop();
  const versions = await store.sql`select distinct version from read_model.journal_swapped`;
  assert.deepEqual([...versions], [{ version: 2 }]);
  await checkJournal(store, name);
  const [left] = await store.sql`select to_regclass('read_model_next.journal_swapped') as name`;
  assert.deepEqual(left, { name: null });
  assert.equal(await project(store, journal(name)), "retired");
});

async function countRows(name: string): Promise<number> {
  const [row] = await store.sql<{ count: number }[]>`
    select count(*)::integer as count from read_model.${store.sql(`journal_${name}`)}`;
  return row?.count ?? 0;
}

async function servingVersion(name: string): Promise<number | undefined> {
  const [row] = await store.sql<{ version: number }[]>`
    select version from read_model.projection_version where name = ${name} and status = 'serving'`;
  return row?.version;
}

test("a version does not cut over if other objects depend on the old tables, and the old one goes on serving", async () => {
  const name = "depended";
  await project(store, { ...journal(name), stopWhenCaughtUp: true });
  await store.sql`create view read_model.mine as select * from read_model.journal_depended`;
  const swap = { ...journal(name, 2), stopWhenCaughtUp: true };
  await assert.rejects(project(store, swap), { code: "2BP01" });
  assert.equal(await servingVersion(name), 1);
  await store.sql`drop view read_model.mine`;
  await project(store, swap);
  assert.equal(await servingVersion(name), 2);
});

test("projection_lag names a prepared transaction that holds readers back", async () => {
  await using stack = await withCluster();
  {
    await using admin = openConnection(await stack.administrator());
    await admin.sql`alter system set max_prepared_transactions = 5`;
  }
  await stopStack(await openTestStack(stack.stackDir), silentRun);
  await bootstrapTestStack(stack.stackDir);
  const target = { ...(await stack.application()) };
  const own = openTestStore({ application: target } as TestDatabase);
  await using _ = own;
  const session = await own.sql.reserve();
  await session.unsafe("begin");
  await appendEvents<OrderEvent>(own, newOrder(), [orderPlaced], { transaction: session });
  await session.unsafe("prepare transaction 'forgotten'");
  session.release();
  await appendEvents<OrderEvent>(own, newOrder(), [orderPlaced]);
  await project(own, { ...journal("held"), stopWhenCaughtUp: true });
  const lag = (await readProjectionLag(own)).find(({ name }) => name === "held");
  assert.deepEqual(
    [lag?.lagEvents, lag?.holder?.pid, lag?.holder?.gid, lag?.holder?.state],
    [1, null, "forgotten", "prepared"],
  );
  await own.sql.unsafe("commit prepared 'forgotten'");
  await project(own, { ...journal("held"), stopWhenCaughtUp: true });
  await checkJournal(own, "held");
});
