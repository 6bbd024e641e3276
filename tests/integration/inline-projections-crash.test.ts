import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { DomainEvent } from "../../scripts/lib/event-store/event.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { checkJournal, eventually, journal, readJournal } from "../support/projection.ts";
import { startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { terminate } from "../support/session.ts";

const counter = { type: "Order", initialState: () => 0, evolve: (count: number) => count + 1 };

async function backendOf(tx: Parameters<ProjectionDefinition["handle"]>[1]): Promise<number> {
  const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return row?.pid ?? 0;
}

test("a session that ends between the append and the handler's statement is retried as a whole", async () => {
  await using database = await withDatabase();
  const definition = journal("ended");
  let calls = 0;
  const handle: typeof definition.handle = async (events, tx) => {
    if (calls++ === 0) await terminate(database.admin, await backendOf(tx));
    await definition.handle(events, tx);
  };
  await using store = openTestStore(database, { logger: false, inlineProjections: [{ ...definition, handle }] });
  const { isDuplicate } = await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
  assert.deepEqual([calls, isDuplicate], [2, false]);
  await checkJournal(store, "ended");
});

test("in the caller's transaction, a session that ends in the handler takes back everything", async () => {
  await using database = await withDatabase();
  const definition = journal("ended");
  const handle: typeof definition.handle = async (events, tx) => {
    await terminate(database.admin, await backendOf(tx));
    await definition.handle(events, tx);
  };
  await using store = openTestStore(database, { logger: false, inlineProjections: [{ ...definition, handle }] });
  const order = newOrder();
  const work = store.transaction((tx) => appendEvents<OrderEvent>(store, order, [orderPlaced], { transaction: tx }));
  await assert.rejects(work, { code: "57P01" });
  assert.equal((await loadAggregate(store, counter, order.id)).version, 0);
  assert.equal((await readJournal(store, "ended")).size, 0);
});

test("a deadlock between handlers is retried", async () => {
  await using database = await withDatabase();
  const name = "deadlocked";
  let waiting = 0;
  const both = Promise.withResolvers<void>();
  const definition: ProjectionDefinition<DomainEvent<"Counted", { first: number }>> = {
    name,
    version: 1,
    relations: {
      names: [name],
      create: (tx) => tx`create table deadlocked as select id, 0 as count from generate_series(1, 2) as id`,
    },
    async handle([event], tx) {
      const first = event?.data.first ?? 0;
      await tx`update deadlocked set count = count + 1 where id = ${first}`;
      if (++waiting === 2) both.resolve();
      await both.promise;
      await tx`update deadlocked set count = count + 1 where id = ${3 - first}`;
    },
  };
  await using one = openTestStore(database, { logger: false, inlineProjections: [definition] });
  await using other = openTestStore(database, { logger: false, inlineProjections: [definition] });
  await Promise.all([
    appendEvents(one, newOrder(), [{ type: "Counted", data: { first: 1 } }]),
    appendEvents(other, newOrder(), [{ type: "Counted", data: { first: 2 } }]),
  ]);
  const rows = await one.sql<{ count: number }[]>`select count from read_model.deadlocked`;
  assert.deepEqual(
    rows.map(({ count }) => count),
    [2, 2],
  );
  assert.ok(waiting > 2);
});

test("however sessions and processes end, events and tables agree, and a rebuild gives the same", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await using database = await withDatabase();
    const start = () => {
      const target = JSON.stringify(database.application);
      return startProgram("tests/support/fixtures/append-inline.ts", [target, "crashed"]);
    };
    const [killed, stopped] = [start(), start()];
    await Promise.all([killed.saw("appended"), stopped.saw("appended")]);
    await endSessions(database);
    killed.kill("SIGKILL");
    await endSessions(database);
    stopped.kill("SIGTERM");
    await Promise.all([killed.ended, stopped.ended]);
    await using store = openTestStore(database);
    await checkJournal(store, "crashed");
    const inline = await readJournal(store, "crashed");
    // The terminated sessions of the killed process may take a moment to release the lock.
    await project(store, { ...journal("crashed", 2), stopWhenCaughtUp: true });
    const rebuilt = await readJournal(store, "crashed");
    assert.deepEqual(new Map([...rebuilt].toSorted()), new Map([...inline].toSorted()));
  }
});

/** Terminates random sessions of the application for a while. */
async function endSessions(database: TestDatabase): Promise<void> {
  let ended = 0;
  const endsAt = performance.now() + 700;
  await eventually(async () => {
    const rows = await database.admin`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and usename = ${database.application.user} and random() < 0.2`;
    ended += rows.length;
    await sleep(20);
    return ended > 5 && performance.now() > endsAt;
  });
}
