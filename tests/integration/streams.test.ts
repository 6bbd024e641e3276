import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import {
  EventStoreError,
  InvalidInput,
  StreamArchived,
  StreamNotFound,
  VersionConflict,
} from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, CallerTransaction } from "../../scripts/lib/event-store/event.ts";
import { readStream } from "../../scripts/lib/event-store/read.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { streamIdOf } from "../../scripts/lib/event-store/stream-id.ts";
import { archiveStream, redactEvent, reopenStream, streamInfo } from "../../scripts/lib/event-store/streams.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
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

async function appendOrder(count: number): Promise<Aggregate> {
  const order = newOrder();
  await appendEvents(store, order, Array<OrderEvent>(count).fill(orderPlaced));
  return order;
}

test("streamInfo() returns the version, times and archive mark of a stream, or undefined", async () => {
  const order = newOrder();
  assert.equal(await streamInfo(store, order), undefined);
  await appendEvents(store, order, [orderPlaced]);
  await appendEvents(store, order, [orderPlaced, orderPlaced]);
  const [first, , last] = await Array.fromAsync(readStream(store, order));
  const expected = {
    streamId: streamIdOf(order),
    aggregate: order,
    version: 3,
    createdAt: first?.occurredAt,
    updatedAt: last?.occurredAt,
    archivedAt: null,
  };
  assert.deepEqual(await streamInfo(store, order), expected);
  assert.deepEqual(await streamInfo(store, { ...order, id: order.id.toUpperCase() }), expected);
  assert.equal(await streamInfo(store, { ...order, type: "order" }), undefined);
  await archiveStream(store, order);
  assert.ok((await streamInfo(store, order))?.archivedAt instanceof Date);
});

test("streamInfo() sees what its transaction has done, and nothing of others in flight", async () => {
  const order = newOrder();
  await store.sql.begin(async (transaction) => {
    await appendEvents(store, order, [orderPlaced], { transaction });
    await archiveStream(store, order, { transaction });
    const info = await streamInfo(store, order, { transaction });
    assert.deepEqual([info?.version, info?.archivedAt instanceof Date], [1, true]);
    assert.equal(await streamInfo(store, order), undefined);
    await reopenStream(store, order, { transaction });
    assert.equal((await streamInfo(store, order, { transaction }))?.archivedAt, null);
  });
  assert.equal((await streamInfo(store, order))?.version, 1);
});

test("an archived stream takes no new events until it is reopened; both can be repeated", async () => {
  const order = await appendOrder(2);
  assert.equal(await archiveStream(store, order, { expectedVersion: 2n }), 2);
  const { archivedAt } = (await streamInfo(store, order)) ?? {};
  assert.equal(await archiveStream(store, order), 2);
  assert.deepEqual((await streamInfo(store, order))?.archivedAt, archivedAt, "the first time stays");
  for (const expectedVersion of ["any", "exists", 2] as const) {
    await assert.rejects(appendEvents(store, order, [orderPlaced], { expectedVersion }), StreamArchived);
  }
  for (let time = 0; time < 2; time++) assert.equal(await reopenStream(store, order), 2);
  const { lastVersion } = await appendEvents(store, order, [orderPlaced], { expectedVersion: 2n });
  assert.equal(lastVersion, 3);
});

test("archiving and reopening refuse a missing stream, and archiving another version", async () => {
  const order = newOrder();
  const isMissing = (error: Error) =>
    error instanceof StreamNotFound && error.message === `the stream of Order ${order.id} does not exist`;
  await assert.rejects(archiveStream(store, order), isMissing);
  await assert.rejects(reopenStream(store, order), isMissing);
  await appendEvents(store, order, [orderPlaced]);
  await assert.rejects(
    archiveStream(store, order, { expectedVersion: 2 }),
    (error: VersionConflict) => error instanceof VersionConflict && error.expected === 2 && error.actual === 1,
  );
  assert.equal((await streamInfo(store, order))?.archivedAt, null);
});

test("the calls about streams refuse what is no aggregate, and unknown options", async () => {
  for (const call of [streamInfo, archiveStream, reopenStream]) {
    await assert.rejects(call(store, { type: "Order", id: "" }), InvalidInput);
    await assert.rejects(call(store, undefined as never), /^InvalidInput: the aggregate is undefined, not an object/);
    await assert.rejects(call(store, "order-1" as never), /^InvalidInput: the aggregate is "order-1", not an object/);
    await assert.rejects(
      call(store, newOrder(), { limit: 5 } as object),
      /^InvalidInput: \w+\(\) has no option "limit"/,
    );
    await assert.rejects(
      call(store, newOrder(), { transaction: store.sql }),
      /^InvalidInput: transaction is a function/,
    );
  }
  await assert.rejects(archiveStream(store, newOrder(), { expectedVersion: 0.5 }), InvalidInput);
});

/** Starts work in a transaction and leaves it open until `finish` is called. */
async function openTransaction(work: (transaction: CallerTransaction) => Promise<unknown>) {
  const [worked, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<boolean>()];
  const done = store.sql.begin(async (transaction) => {
    await work(transaction);
    worked.resolve();
    if (!(await ended.promise)) throw new Error("rolled back");
  });
  done.catch(worked.reject);
  await worked.promise;
  return {
    async finish(isCommitted: boolean) {
      ended.resolve(isCommitted);
      await done.catch((error: Error) => assert.equal(error.message, "rolled back"));
    },
  };
}

async function someoneWaits(): Promise<void> {
  const probe = async () => {
    const waiting = await database.admin`
      select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    return waiting.length > 0 || undefined;
  };
  assert.ok(await pollUntil(probe, { timeoutMs: 60_000, intervalMs: 5 }), "a session waits for the stream");
}

for (const isCommitted of [true, false]) {
  const end = isCommitted ? "commits" : "rolls back";
  test(`an append waits for a transaction that archives its stream, which then ${end}`, async () => {
    const order = await appendOrder(1);
    const { finish } = await openTransaction((transaction) => archiveStream(store, order, { transaction }));
    const append = appendEvents(store, order, [orderPlaced], { expectedVersion: 1 }).then(
      ({ lastVersion }) => lastVersion,
      (error: Error) => error.name,
    );
    await someoneWaits();
    await finish(isCommitted);
    assert.equal(await append, isCommitted ? "StreamArchived" : 2);
  });

  test(`an append waits for a transaction that reopens its stream, which then ${end}`, async () => {
    const order = await appendOrder(1);
    await archiveStream(store, order);
    const { finish } = await openTransaction((transaction) => reopenStream(store, order, { transaction }));
    const append = appendEvents(store, order, [orderPlaced]).then(
      ({ lastVersion }) => lastVersion,
      (error: Error) => error.name,
    );
    await someoneWaits();
    await finish(isCommitted);
    assert.equal(await append, isCommitted ? 2 : "StreamArchived");
  });

  test(`archiving and reopening wait for a transaction that appends, which then ${end}`, async () => {
    const order = await appendOrder(1);
    const work = (transaction: CallerTransaction) => appendEvents(store, order, [orderPlaced], { transaction });
    const { finish } = await openTransaction(work);
    const archived = archiveStream(store, order);
    const reopened = reopenStream(store, order);
    await someoneWaits();
    await finish(isCommitted);
    const version = isCommitted ? 2 : 1;
    assert.deepEqual(await Promise.all([archived, reopened]), [version, version]);
  });
}

test("appends that race with archiving and reopening are stored or refused, and leave no gap", async () => {
  const order = await appendOrder(1);
  let stored = 1;
  const outcomes = new Set<string>();
  let isDone = false;
  const flip = async () => {
    while (!isDone) {
      await archiveStream(store, order);
      await reopenStream(store, order);
    }
  };
  const append = async () => {
    for (let time = 0; time < testRounds(100); time++) {
      await store.sql
        .begin((transaction) => appendEvents(store, order, [orderPlaced], { transaction }))
        .then(
          () => stored++,
          (error: Error) => outcomes.add(error.name),
        );
    }
  };
  const flipping = flip();
  await Promise.all([append(), append(), append()]);
  isDone = true;
  await flipping;
  const versions = (await Array.fromAsync(readStream(store, order))).map(({ aggregateVersion }) => aggregateVersion);
  assert.deepEqual(
    versions,
    Array.from({ length: stored }, (_, index) => index + 1),
  );
  assert.equal((await streamInfo(store, order))?.version, stored);
  assert.deepEqual([...outcomes], ["StreamArchived"], `${stored} stored`);
});

function openAdministratorStore(): EventStore {
  const { password, ...administrator } = database.administrator;
  return openEventStore({ ...administrator, ...(password === undefined ? {} : { password }) });
}

test("redactEvent() replaces the data and metadata of one event, with the administrator's login", async () => {
  const order = newOrder();
  const metadata = { user: "ada" };
  await appendEvents<OrderEvent>(store, order, [
    { ...orderPlaced, metadata },
    { ...orderPlaced, metadata },
  ]);
  await using admin = openAdministratorStore();
  await redactEvent(admin, order, { aggregateVersion: 1, reason: "request 17" });
  const options = { aggregateVersion: 2n, reason: "request 18", data: { total: 0 }, metadata: { user: null } };
  await admin.sql.begin((transaction) => redactEvent(admin, order, { ...options, transaction }));
  const events = await Array.fromAsync(readStream(store, order));
  assert.deepEqual(
    events.map((event) => [event.data, event.metadata]),
    [
      [{}, null],
      [{ total: 0 }, { user: null }],
    ],
  );
  const rows = await database.sql`
    select aggregate_version, reason from event_store.redaction where stream_id = ${streamIdOf(order)} order by 1`;
  assert.deepEqual(
    rows.map(({ aggregate_version: version, reason }) => [version, reason]),
    [
      [1, "request 17"],
      [2, "request 18"],
    ],
  );
});

test("redactEvent() with the application's login says which login it needs, and changes nothing", async () => {
  const order = await appendOrder(1);
  const options = { aggregateVersion: 1, reason: "request 17" };
  await assert.rejects(redactEvent(store, order, options), (error: Error) => {
    assert.ok(error instanceof EventStoreError && error.code === "42501");
    assert.equal(
      error.message,
      "this login may not redact events (permission denied for function redact_event). Open the store with the " +
        'administrator\'s login, or grant "execute on function event_store.redact_event" to the one in use',
    );
    return true;
  });
  assert.deepEqual(
    (await Array.fromAsync(readStream(store, order))).map(({ data }) => data),
    [orderPlaced.data],
  );
  await database.admin`grant execute on function event_store.redact_event to cqrs_app`;
  await redactEvent(store, order, options);
  await database.admin`revoke execute on function event_store.redact_event from cqrs_app`;
  assert.deepEqual(
    (await Array.fromAsync(readStream(store, order))).map(({ data }) => data),
    [{}],
  );
});

test("redactEvent() refuses a missing event, and input that cannot be stored", async () => {
  const order = await appendOrder(1);
  await using admin = openAdministratorStore();
  const redact = (options: object) => redactEvent(admin, order, options as never);
  await assert.rejects(redact({ aggregateVersion: 2, reason: "x" }), StreamNotFound);
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ reason: "x" }, /needs the aggregateVersion of the event$/],
    [{ aggregateVersion: 1 }, /needs a reason$/],
    [{ aggregateVersion: 1, reason: " " }, /^a redaction needs a reason and replacement data$/],
    [{ aggregateVersion: 1, reason: "x", data: null }, /^a redaction needs a reason and replacement data$/],
    [{ aggregateVersion: 1, reason: "x", data: { at: new Map() } }, /^data contains an instance of Map at \.at/],
    [{ aggregateVersion: 1, reason: "x", eventId: "y" }, /^redactEvent\(\) has no option "eventId"/],
  ];
  for (const [options, message] of cases) {
    await assert.rejects(
      redact(options),
      (error: Error) => error instanceof InvalidInput && message.test(error.message),
    );
  }
  assert.deepEqual(
    (await Array.fromAsync(readStream(store, order))).map(({ data }) => data),
    [orderPlaced.data],
  );
});
