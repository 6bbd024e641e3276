import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { Aggregate, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { replayDeadLetters } from "../../scripts/lib/event-store/projection/dead-letters.ts";
import type { ProjectionLag } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { isServerUnavailable } from "../../scripts/lib/postgres/failure.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { inSavepoint, inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { retry } from "../../scripts/lib/retry.ts";
import type { ProjectionEnd } from "../../scripts/lib/stack/projections.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { type PgBouncer, pgBouncerSkip, startPgBouncer, supportsPrepared } from "../support/pgbouncer.ts";
import { checkJournal, journal, runInBackground, untilHandled } from "../support/projection.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { bootstrapTestStack, openTestStack, silentRun, withCluster } from "../support/stack.ts";

const skip = pgBouncerSkip;

/** How the application connects: PgBouncer 1.18, as in Debian 12, supports prepared statements in session mode only. */
const modes = [
  { poolMode: "transaction", poolSize: 2, prepare: false },
  { poolMode: "session", poolSize: 20, prepare: true },
] as const;

for (const { poolMode, poolSize, prepare } of modes) {
  let database: TestDatabase;
  let pooler: PgBouncer;
  let store: EventStore;
  const openStore = () =>
    openTestStore(
      { ...database, application: { ...database.application, port: pooler.port } },
      { prepare, maxConnections: 5 },
    );
  before(async () => {
    if (skip !== false) return;
    database = await withDatabase();
    pooler = await startPgBouncer(database.application, { poolMode, poolSize });
    store = openStore();
  });
  after(async () => {
    await store?.[Symbol.asyncDispose]();
    await pooler?.[Symbol.asyncDispose]();
    await database?.[Symbol.asyncDispose]();
  });

  const poolerTest = (name: string, work: () => Promise<void>) =>
    test(`through PgBouncer in ${poolMode} mode, ${name}`, { skip }, work);

  poolerTest("three applications append and read 200 events, and a subscription gets each once", async () => {
    await using second = openStore();
    await using third = openStore();
    const stop = new AbortController();
    const received = collect(store, 200, stop);
    const orders = Array.from({ length: 20 }, newOrder);
    for (let round = 0; round < 10; round++) {
      const appends = orders.map((order, index) => {
        const own = [store, second, third][index % 3] as EventStore;
        return index % 2 === 0
          ? appendEvents<OrderEvent>(own, order, [orderPlaced], { expectedVersion: round })
          : inTransaction(own.sql, (transaction) =>
              appendEvents<OrderEvent>(own, order, [orderPlaced], { expectedVersion: round, transaction }),
            );
      });
      await Promise.all(appends);
    }
    const read = await Array.fromAsync(readAll(third, { pageSize: 30 }));
    assert.deepEqual(
      read.map(({ position }) => position),
      (await received).map(({ position }) => position),
    );
    for (const order of orders) {
      const events = await Array.fromAsync(readStream(second, order, { pageSize: 3 }));
      assert.deepEqual(
        events.map(({ aggregateVersion }) => aggregateVersion),
        Array.from({ length: 10 }, (_, index) => index + 1),
      );
    }
    const sessions = await countSessions(database);
    assert.ok(sessions >= 1 && sessions <= poolSize, `${sessions}`);
  });

  poolerTest("a projection runs in four partitions, and its dead letters are replayed", async () => {
    const definition = journal("pooled");
    const orders = Array.from({ length: 10 }, newOrder);
    const unlucky = orders[3] as Aggregate;
    await Promise.all(orders.map((order) => appendEvents<OrderEvent>(store, order, [orderPlaced, orderPlaced])));
    const handle: typeof definition.handle = async (events, tx) => {
      if (events.some(({ aggregate }) => aggregate.id === unlucky.id)) await tx`select 1 / 0`;
      await definition.handle(events, tx);
    };
    await using running = runInBackground(store, {
      ...definition,
      handle,
      partitions: 4,
      maxAttempts: 2,
      retryPauseMs: 1,
    });
    const { lastPosition } = await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
    await untilHandled(store, definition.name, lastPosition);
    await running.stop();
    assert.deepEqual(await replayDeadLetters(store, definition), { replayed: 2, remaining: 0 });
    await checkJournal(store, definition.name);
    assert.equal(await project(store, { ...journal("pooled", 2), stopWhenCaughtUp: true }), "caught-up");
    await checkJournal(store, definition.name);
  });

  poolerTest("commands decide on loaded aggregates, and concurrent ones decide again", async () => {
    const definition = {
      type: "Order",
      initialState: () => ({ total: 0 }),
      evolve: ({ total }: { total: number }, event: RecordedEvent<OrderEvent>) => ({
        total: total + (event.type === "OrderPlaced" ? event.data.total : 0),
      }),
      snapshots: { stateVersion: 1, everyEvents: 5 },
    };
    const { id } = newOrder();
    const command = () =>
      decide(store, definition, id, () => [{ type: "OrderPlaced", data: { total: 1 } }] as const, { retries: 50 });
    await Promise.all(Array.from({ length: 6 }, command));
    assert.deepEqual(await loadAggregate(store, definition, id), { state: { total: 6 }, version: 6 });
    await command();
    assert.deepEqual(await loadAggregate(store, definition, id), { state: { total: 7 }, version: 7 });
  });

  poolerTest("rolling back a savepoint undoes its own append only", async () => {
    const [kept, takenBack] = [newOrder(), newOrder()];
    await inTransaction(store.sql, async (tx) => {
      await appendEvents<OrderEvent>(store, kept, [orderPlaced], { transaction: tx });
      const failing = inSavepoint(tx, async (savepoint) => {
        await appendEvents<OrderEvent>(store, takenBack, [orderPlaced], { transaction: savepoint });
        await savepoint`select 1 / 0`;
      });
      await assert.rejects(failing, { code: "22012" });
      await appendEvents<OrderEvent>(store, kept, [orderPlaced], { transaction: tx });
    });
    const stored = await Promise.all([kept, takenBack].map((order) => Array.fromAsync(readStream(store, order))));
    assert.deepEqual(
      stored.map(({ length }) => length),
      [2, 0],
    );
  });
}

test("appends, a subscription and a projection continue when the server restarts behind PgBouncer", {
  skip,
}, async () => {
  await using stack = await withCluster();
  const application = await stack.application();
  await using pooler = await startPgBouncer(application, { poolMode: "transaction", poolSize: 2 });
  await using store = openEventStore({ ...application, port: pooler.port, prepare: false });
  await using running = runInBackground(store, journal("outlasting"));
  const stop = new AbortController();
  const received = collect(store, 200, stop);
  const append = async () => {
    const order = newOrder();
    for (let version = 0; version < 20; version++) {
      const events = [{ ...orderPlaced, id: randomUUID() }];
      // An append itself retries for 3.5 seconds only, and a busy machine may need longer for a restart.
      await retry(() => appendEvents<OrderEvent>(store, order, events, { expectedVersion: version }), {
        pauseMs: (error) => (isServerUnavailable(error) ? 50 : undefined),
      });
      await sleep(20);
    }
  };
  const appends = Promise.all(Array.from({ length: 10 }, append));
  await sleep(100);
  await stopStack(await openTestStack(stack.stackDir), silentRun);
  await bootstrapTestStack(stack.stackDir);
  await appends;
  const positions = (await received).map(({ position }) => position);
  assert.deepEqual(
    positions,
    (await Array.fromAsync(readAll(store))).map(({ position }) => position),
  );
  await untilHandled(store, "outlasting", positions.at(-1) as bigint);
  await running.stop();
  await checkJournal(store, "outlasting");
});

const skipPrepared = skip || (supportsPrepared && "this PgBouncer supports prepared statements");

test("prepared statements through PgBouncer in transaction mode fail with an error that names the cause", {
  skip: skipPrepared,
}, async () => {
  await using database = await withDatabase();
  await using pooler = await startPgBouncer(database.application, { poolMode: "transaction", poolSize: 2 });
  const target = { ...database.application, port: pooler.port };
  await using client = openConnection(target);
  await using other = openConnection(target);
  const read = (sql: Sql) => sql`select ${1}::integer`;
  await read(client.sql);
  await inTransaction(other.sql, async (tx) => {
    // It now occupies the only server session in which the statement is prepared.
    await tx`select 1`;
    await assert.rejects(inTransaction(client.sql, read), {
      code: "26000",
      message: /^prepared statement "\w+" does not exist$/,
    });
  });
});

test("the projections script works through PgBouncer, on an external server with CQRS_LOCAL_PORT", {
  skip,
}, async () => {
  await using stack = await withCluster();
  const administrator = await stack.administrator();
  // Bootstrap creates this login.
  const login = { ...administrator, user: "pooled_user", password: "pooled-password" };
  await using pooler = await startPgBouncer(login, { poolMode: "transaction", poolSize: 2 });
  const folder = join(stack.stackDir, "external");
  const options = {
    stackDir: folder,
    env: {
      CQRS_MODE: "external",
      DATABASE_URL: connectionUrl(administrator),
      POSTGRES_DB: "cqrs_db",
      POSTGRES_USER: login.user,
      POSTGRES_PASSWORD: login.password,
      CQRS_LOCAL_PORT: `${pooler.port}`,
    },
  };
  await runForData(["bootstrap", "--yes"], options);
  await runForData(["seed"], options);
  // Other clients share the sessions, so that a transaction often continues in another one than the last did.
  await using store = openEventStore({ ...login, port: pooler.port, database: "cqrs_db", prepare: false });
  const stop = new AbortController();
  const load = Array.from({ length: 4 }, async () => {
    while (!stop.signal.aborted) await inTransaction(store.sql, (tx) => tx`select pg_sleep(0.001)`);
  });
  await using _load = {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.all(load);
    },
  };
  const run = ["projections", "run", "--once", "--partitions", "4"];
  const { projections } = await runForData<{ projections: ProjectionEnd[] }>(run, options);
  assert.deepEqual(projections, [{ name: "order_summary", version: 2, outcome: "caught-up", deadLetters: 0 }]);
  const rebuild = ["projections", "rebuild", "--module", join(assetsDir, "tests/support/fixtures/second-summary.ts")];
  await runForData(rebuild, options);
  const [lag] = (await runForData<{ projections: ProjectionLag[] }>(["projections", "list"], options)).projections;
  assert.deepEqual([lag?.version, lag?.status, lag?.lagEvents], [3, "serving", 0]);
});

test("a command that needs a role explains that it cannot work through PgBouncer", { skip }, async () => {
  await using database = await withDatabase();
  const { administrator } = database;
  await using pooler = await startPgBouncer(administrator, { poolMode: "transaction", poolSize: 2 });
  const env = { DATABASE_URL: connectionUrl({ ...administrator, port: pooler.port }) };
  const words = ["schema", "apply", "--mode", "external"];
  const { exitCode, stderr } = await runScript(words, { stackDir: join(database.stackDir, "none"), env });
  assert.equal(exitCode, 3, stderr);
  assert.match(stderr, /^error: Cannot use postgres:\/\/postgres:\*\*\*\*@127\.0\.0\.1:\d+\/\w+$/m);
  assert.match(stderr, /^ {2}why: unsupported startup parameter: search_path \(08P01\)$/m);
  assert.match(stderr, /^ {2}fix: Connect to the PostgreSQL server itself, not to a pooler\.$/m);
});

/** Follows the log until it has seen `count` events. */
async function collect(store: EventStore, count: number, stop: AbortController): Promise<RecordedEvent[]> {
  const seen: RecordedEvent[] = [];
  for await (const { events } of subscribe(store, { signal: stop.signal, batchSize: 20 })) {
    seen.push(...events);
    if (seen.length >= count) stop.abort();
  }
  return seen;
}

/** @returns how many sessions the application has on the server */
async function countSessions({ admin, name, application }: TestDatabase): Promise<number> {
  const [row] = await admin<{ count: number }[]>`
    select count(*)::integer as count from pg_stat_activity
    where datname = ${name} and usename = ${application.user}`;
  return row?.count ?? 0;
}
