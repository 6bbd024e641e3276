import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { Aggregate, NewEvent } from "../../scripts/lib/event-store/event.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { connect } from "../../scripts/lib/stack/connect.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";

let database: TestDatabase;
let store: EventStore;
let order: Aggregate;
before(async () => {
  database = await withDatabase();
  store = openTestStore(database);
  order = newOrder();
  await appendEvents(store, order, Array<OrderEvent>(5).fill(orderPlaced));
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const counter = {
  type: "Order",
  initialState: () => ({ count: 0 }),
  evolve: ({ count }: { count: number }) => ({ count: count + 1 }),
};

type Call = (options: object) => Promise<unknown>;
const calls: Readonly<Record<string, Call>> = {
  "readStream()": (options) => readStream(store, order, options).next(),
  "readAll()": (options) => readAll(store, options).next(),
  "subscribe()": (options) => subscribe(store, options).next(),
  "appendEvents()": (options) => appendEvents(store, newOrder(), [orderPlaced], options),
  "loadAggregate()": (options) => loadAggregate(store, counter, order.id, options),
  "decide()": (options) => decide(store, counter, order.id, () => [], options),
};

function isInvalid(message: RegExp): (error: Error) => boolean {
  return (error) => error instanceof InvalidInput && error.code === "UE007" && message.test(error.message);
}

for (const [name, call] of Object.entries(calls)) {
  test(`${name} refuses an unknown option before it sends anything`, async () => {
    await assert.rejects(call({ trnsaction: undefined }), isInvalid(/ has no option "trnsaction"/));
    await assert.rejects(call({ limit: 5 }), isInvalid(/^\w+\(\) has no option "limit": allowed are /));
  });
}

test("opening a store refuses an unknown option", async () => {
  const bad = { maxConnection: 3 } as object;
  const message = /has no option "maxConnection": did you mean maxConnections\?$/;
  assert.throws(() => openEventStore({ ...database.application, ...bad }), isInvalid(message));
  assert.throws(() => openTestStore(database, { maxConnections: 0 }), isInvalid(/^maxConnections is 0; it must be/));
  await assert.rejects(connect({ url: "postgres://x@localhost/x", ...bad }), isInvalid(message));
});

const sizes: readonly (readonly [string, string])[] = [
  ["readStream()", "pageSize"],
  ["readStream()", "maxCount"],
  ["readAll()", "pageSize"],
  ["subscribe()", "batchSize"],
];
for (const [name, option] of sizes) {
  test(`${name} refuses a ${option} that is no number of events`, async () => {
    for (const value of [0, -1, Number.NaN, 1.5, 2 ** 31, Number.POSITIVE_INFINITY, "10", 1n, null]) {
      const message = new RegExp(`^${option} is .*; it must be an integer from 1 to 2147483647$`);
      await assert.rejects(calls[name]?.({ [option]: value }) as Promise<unknown>, isInvalid(message));
    }
  });
}

test("other options of the wrong type are refused with one sentence", async () => {
  const cases: readonly (readonly [string, object, RegExp])[] = [
    ["readStream()", { upToTime: new Date("no") }, /^upToTime is an invalid Date; it must be a valid Date$/],
    ["readStream()", { backwards: "no" }, /^backwards is "no"; it must be true or false$/],
    ["readStream()", { afterVersion: 1.5 }, /^afterVersion is 1\.5; it must be an integer from 0/],
    ["readStream()", { upToVersion: 2n ** 31n }, /^upToVersion is 2147483648n; it must be an integer from 0/],
    ["readAll()", { eventTypes: "OrderPlaced" }, /^eventTypes is "OrderPlaced"; it must be an array of strings$/],
    ["readAll()", { after: 5n }, /^after is 5n; it must be a string$/],
    ["subscribe()", { signal: new AbortController() }, /^signal is an object; it must be an AbortSignal$/],
    ["decide()", { retries: Number.NaN }, /^retries is NaN; it must be an integer from 0/],
    [
      "decide()",
      { transaction: {} },
      /^transaction is an object; it must be the transaction that store\.transaction\(\) or/,
    ],
  ];
  for (const [name, options, message] of cases) {
    await assert.rejects(calls[name]?.(options) as Promise<unknown>, isInvalid(message));
  }
  const snapshots = { stateVersion: 1, everyEvent: 5 } as never;
  await assert.rejects(
    loadAggregate(store, { ...counter, snapshots }, order.id),
    isInvalid(/^snapshots has no option "everyEvent": did you mean everyEvents\?$/),
  );
});

test("versions may be bigints where they fit, and are refused where they do not", async () => {
  const versions = async (options: object) =>
    (await Array.fromAsync(readStream(store, order, options))).map(({ aggregateVersion }) => aggregateVersion);
  assert.deepEqual(await versions({ afterVersion: 1n, upToVersion: 3n }), [2, 3]);
  assert.deepEqual(await versions({ afterVersion: 3n, backwards: true, pageSize: 1 }), [2, 1]);
  assert.deepEqual(await versions({ upToVersion: 2_147_483_647n, afterVersion: 4 }), [5]);
  const stream = newOrder();
  const append = (expectedVersion: number | bigint) => appendEvents(store, stream, [orderPlaced], { expectedVersion });
  await append(0n);
  assert.equal((await append(1n)).lastVersion, 2);
  for (const version of [-1n, 2n ** 31n, 2n ** 64n, -1, 0.5, 2 ** 31]) {
    await assert.rejects(append(version), isInvalid(/is not an expected version: pass .* an integer from 0/));
  }
  for (const version of ["toString", "", null, {}, true]) {
    await assert.rejects(append(version as never), isInvalid(/is not an expected version/));
  }
});

const placed = { type: "OrderPlaced", data: { total: 1 } };
const badEvents: readonly (readonly [string, unknown, RegExp])[] = [
  [
    "an unknown key",
    { ...placed, meta: {} },
    /^event 1 \(OrderPlaced\) has the unknown key "meta": allowed are type, /,
  ],
  ["a misspelt key", { ...placed, metaData: {} }, /has the unknown key "metaData": did you mean metadata\?$/],
  ["an unknown key that is undefined", { ...placed, causationID: undefined }, /did you mean causationId\?$/],
  ["an inherited name", { ...placed, constructor: 1 }, /has the unknown key "constructor"/],
  ["no data", { type: "Cleared" }, /^event 1 \(Cleared\) has no data: write data: \{\} for an event without data$/],
  ["data that is undefined", { type: "Cleared", data: undefined }, /has no data: write data: \{\}/],
  ["data that is null", { type: "Cleared", data: null }, /has no data: write data: \{\}/],
  ["no type", { data: {} }, /^event 1 has no type that is a string$/],
  ["no object", null, /^event 1 is null, not an object$/],
  [
    "a promise as data",
    { type: "A", data: Promise.resolve({}) },
    /^data of event 1 \(A\) contains a Promise, which must/,
  ],
  [
    "an error in its metadata",
    { ...placed, metadata: { cause: new Error() } },
    /metadata of .* an instance of Error at/,
  ],
  [
    "a causation id that is not text",
    { ...placed, causationId: 17 },
    /the causationId of event 1 .* is 17; it must be a UUID, or text of 1 to 1024 bytes/,
  ],
];
for (const [what, event, message] of badEvents) {
  test(`an event with ${what} is refused before anything is sent`, async () => {
    const stream = newOrder();
    await assert.rejects(appendEvents(store, stream, [event as NewEvent]), isInvalid(message));
    await assert.rejects(
      decide(store, counter, stream.id, () => [event as never]),
      (error) => error instanceof Error,
    );
    assert.deepEqual(await Array.fromAsync(readStream(store, stream)), []);
  });
}

test("the events must be an array, and so must what a decision returns", async () => {
  await assert.rejects(
    appendEvents(store, order, placed as never),
    isInvalid(/^the events are an object, not an array$/),
  );
  await assert.rejects(appendEvents(store, order, new Array(2)), isInvalid(/^event 1 is undefined, not an object$/));
  await assert.rejects(
    decide(store, counter, order.id, () => undefined as never),
    isInvalid(/^the decision returned no array of events$/),
  );
});

test("the events of a recorded event's properties can be appended to another stream", async () => {
  const [event] = await Array.fromAsync(readStream<OrderEvent>(store, order, { maxCount: 1 }));
  assert.ok(event !== undefined);
  const { type, data, metadata, causationId, correlationId } = event;
  const copy = { type, data, metadata, causationId, correlationId } as NewEvent;
  assert.equal((await appendEvents(store, newOrder(), [copy])).lastVersion, 1);
});

test("upToTime includes the events of its whole millisecond", async () => {
  for (let round = 0; round < 5; round++) {
    const stream = newOrder();
    await appendEvents(store, stream, [orderPlaced]);
    await appendEvents(store, stream, [orderPlaced]);
    const events = await Array.fromAsync(readStream(store, stream));
    for (const backwards of [false, true]) {
      for (const [index, { occurredAt }] of events.entries()) {
        const upTo = await Array.fromAsync(readStream(store, stream, { upToTime: occurredAt, backwards }));
        assert.ok(upTo.length >= index + 1, `${upTo.length} events up to ${occurredAt.toISOString()}`);
      }
      const earlier = new Date((events[0]?.occurredAt.getTime() ?? 0) - 1);
      assert.deepEqual(await Array.fromAsync(readStream(store, stream, { upToTime: earlier, backwards })), []);
    }
    for (const upToTime of [new Date("9999-12-31T23:59:59.999Z"), new Date(8.64e15)]) {
      assert.equal((await Array.fromAsync(readStream(store, stream, { upToTime }))).length, 2);
    }
    assert.deepEqual(await Array.fromAsync(readStream(store, stream, { upToTime: new Date(0) })), []);
  }
});

test("a snapshot is refused if loading it would return another state", async () => {
  const snapshots = { stateVersion: 1, everyEvents: 1 };
  const states = [{ at: new Date(0) }, { lines: new Map() }, { bytes: new Uint8Array(1) }, { total: Number.NaN }];
  for (const state of states) {
    const definition = { ...counter, snapshots, initialState: () => state, evolve: () => state };
    await assert.rejects(
      loadAggregate(store, definition as never, order.id),
      isInvalid(/^the state of Order .* contains .* at \.(at|lines|bytes|total), which/),
    );
  }
});

test("integers beyond 2^53 are refused, and numbers of SQL clients are read as doubles", async () => {
  const stream = newOrder();
  for (const n of [Number("12345678901234567890"), 2 ** 53, -(2 ** 64)]) {
    const events = [{ type: "A", data: { lines: [{ n }] } }];
    await assert.rejects(
      appendEvents(store, stream, events),
      isInvalid(/^data of event 1 \(A\) contains the integer -?\d+ at \.lines\[0\]\.n, which is beyond 2\^53/),
    );
  }
  const exact = '{"n": 9007199254740993, "huge": 1e400, "text": "9007199254740993"}';
  await database.sql`
    select event_store.append_events('Order', ${stream.id}, 0,
      array[jsonb_build_object('event_type', 'A', 'event_data', ${exact}::text::jsonb)])`;
  const [event] = await Array.fromAsync(readStream(store, stream));
  assert.deepEqual(event?.data, { n: 2 ** 53, huge: Number.POSITIVE_INFINITY, text: "9007199254740993" });
  const [row] = await database.sql`
    select event_data ->> 'n' as digits from event_store.read_stream('Order', ${stream.id})`;
  assert.equal(row?.["digits"], "9007199254740993");
});
