// Aggregates named by text: the same ids in SQL and in TypeScript, and the text wherever an aggregate is named.
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { type AggregateDefinition, decide, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput, StreamArchived, StreamNotFound, VersionConflict } from "../../scripts/lib/event-store/errors.ts";
import type { RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { replayDeadLetters } from "../../scripts/lib/event-store/projection/dead-letters.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { aggregateIdOf, streamIdOf } from "../../scripts/lib/event-store/stream-id.ts";
import { archiveStream, redactEvent, reopenStream, streamInfo } from "../../scripts/lib/event-store/streams.ts";
import { readViolations } from "../../scripts/lib/schema/invariants.ts";
import { refusal } from "../support/append-input.ts";
import { withArchives } from "../support/archive.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openTestStore } from "../support/event-store.ts";

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

const added = { type: "ItemAdded", data: { sku: "A" } };

/** A name that no other test uses. */
function newCart(prefix = "cart-") {
  return { type: "Cart", id: `${prefix}${randomUUID().slice(0, 8)}` };
}

async function collect(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  return await Array.fromAsync(events);
}

const alphabets = [
  "abcdefghijklmnopqrstuvwxyz0123456789-_:/",
  "0123456789abcdefABCDEF-{}",
  "äöüÄÖÜßéÅ",
  "e\u0301a\u030Ao\u0308",
  "😀👩‍👩‍👧‍👦🏳️‍🌈漢字ﾊﾝ",
  " \t\n\r'\"\\$%&{}[]()\u007f\u0085\u2028",
];

function randomText(): string {
  const characters = [...(alphabets[randomBytes(1).readUInt8() % alphabets.length] as string)];
  const length = 1 + (randomBytes(1).readUInt8() % 60);
  return Array.from(randomBytes(length), (byte) => characters[byte % characters.length]).join("");
}

/** Forms that PostgreSQL's type uuid accepts, and texts that only look like one. */
function uuidForms(): string[] {
  const id = randomUUID();
  const plain = id.replaceAll("-", "");
  return [
    id,
    id.toUpperCase(),
    `{${id}}`,
    plain,
    plain.toUpperCase(),
    `urn:uuid:${id}`,
    ` ${id}`,
    `${id}\n`,
    id.replace("-", "_"),
    plain.replace(/(.{4})(?=.)/g, "$1-"),
    `${id.slice(0, 35)}g`,
    `${id.slice(0, 35)}٣`,
  ];
}

const longTexts = ["x".repeat(1024), "é".repeat(512), "😀".repeat(256), "x", " "];

test("10,000 random texts have the same ids in SQL and in TypeScript", async () => {
  const composed = ["Å", "é", "ö", "Ｃart", "ﬁ"].flatMap((text) => [text.normalize("NFC"), text.normalize("NFD")]);
  const known = [...Array.from({ length: 100 }, uuidForms).flat(), ...composed, ...longTexts];
  const texts = [...known, ...Array.from({ length: 10_000 - known.length }, randomText)];
  const rows = await database.sql<{ text: string; id: string; streamId: string }[]>`
    select text, event_store.aggregate_id_of(text) as id,
      event_store.stream_id_of('Cart', event_store.aggregate_id_of(text)) as "streamId"
    from jsonb_array_elements_text(${JSON.stringify(texts)}::text::jsonb) as text`;
  assert.equal(rows.length, 10_000);
  for (const { text, id, streamId } of rows) {
    assert.equal(aggregateIdOf(text), id, JSON.stringify(text));
    assert.equal(streamIdOf({ type: "Cart", id: text }), streamId, JSON.stringify(text));
  }
  const different = new Set(texts.map((text) => aggregateIdOf(text)));
  const expected = new Set(texts.map((text) => (/^[0-9a-f-]{36}$/i.test(text) ? text.toLowerCase() : text)));
  assert.equal(different.size, expected.size, "no two texts share an id");
});

test("an id that was derived once stays the same", () => {
  assert.equal(aggregateIdOf("cart-123"), "4fafa85f-c4e0-5bf3-aca5-60fe00b32122");
});

test("text that is empty, too long, or cannot be stored is refused in SQL and in TypeScript", async () => {
  for (const text of ["", "x".repeat(1025), "é".repeat(513)]) {
    assert.throws(() => aggregateIdOf(text), InvalidInput);
    const sizeBytes = Buffer.byteLength(text);
    const error = await refusal(database.sql`select event_store.aggregate_id_of(${text})`);
    assert.match(error.message, new RegExp(`the aggregate key has ${sizeBytes} bytes; it must have 1 to 1024`));
  }
  for (const id of ["a\u0000b", "a\ud800", 17 as unknown as string, undefined as unknown as string]) {
    await assert.rejects(appendEvents(store, { type: "Cart", id }, [added]), InvalidInput);
    await assert.rejects(collect(readStream(store, { type: "Cart", id })), InvalidInput);
  }
});

test("readers return the text, whether the stream is read by it, by its UUID, or from the log", async () => {
  const cart = newCart("Größe/漢字 👩‍👧 ");
  const uuid = aggregateIdOf(cart.id);
  const appended = await appendEvents(store, cart, [added, added]);
  assert.equal(appended.streamId, streamIdOf(cart));
  for (const id of [cart.id, uuid, uuid.toUpperCase()]) {
    const events = await collect(readStream(store, { type: "Cart", id }));
    assert.deepEqual(
      events.map(({ aggregate, streamId }) => [aggregate, streamId]),
      [
        [cart, streamIdOf(cart)],
        [cart, streamIdOf(cart)],
      ],
    );
  }
  const logged = (await collect(readAll(store))).filter(({ streamId }) => streamId === appended.streamId);
  assert.deepEqual(
    logged.map(({ aggregate }) => aggregate),
    [cart, cart],
  );
  const [row] = await database.sql`
    select aggregate_id, aggregate_key from event_store.read_all(${`${logged[0]?.position ?? 0n}`}::bigint - 1, 1)`;
  assert.deepEqual({ ...row }, { aggregate_id: uuid, aggregate_key: cart.id });
});

test("an append by UUID leaves the text alone, and a stream without one gets it later", async () => {
  const cart = newCart();
  const byUuid = { type: "Cart", id: aggregateIdOf(cart.id) };
  await appendEvents(store, byUuid, [added]);
  assert.deepEqual((await collect(readStream(store, byUuid)))[0]?.aggregate, byUuid);
  await appendEvents(store, cart, [added], { expectedVersion: 1 });
  await appendEvents(store, byUuid, [added], { expectedVersion: 2 });
  for (const aggregate of [cart, byUuid]) {
    const events = await collect(readStream(store, aggregate));
    assert.deepEqual(
      events.map(({ aggregate: { id } }) => id),
      [cart.id, cart.id, cart.id],
    );
  }
});

test("a UUID is no text: it has no key, in whatever case it is written", async () => {
  const id = randomUUID();
  await appendEvents(store, { type: "Cart", id: id.toUpperCase() }, [added]);
  await database.sql`
    select event_store.append(event_store.stream_id_of('Cart', ${id}), 'Cart', ${id}, 1,
      '[{"event_type":"A","event_data":{}}]', ${id.toUpperCase()})`;
  const [row] = await database.sql`
    select version, aggregate_key from event_store.event_stream where stream_id = ${streamIdOf({ type: "Cart", id })}`;
  assert.deepEqual({ ...row }, { version: 2, aggregate_key: null });
});

const oneEvent = `'[{"event_type":"A","event_data":{}}]'`;

test("a key that is not that of the aggregate is refused with UE007, for new and for existing streams", async () => {
  const cart = newCart();
  const id = aggregateIdOf(cart.id);
  const other = randomUUID();
  const append = (key: string, expected: number, aggregate = id) =>
    refusal(database.sql`
      select event_store.append(event_store.stream_id_of('Cart', ${aggregate}), 'Cart', ${aggregate}, ${expected},
        ${database.sql.unsafe(oneEvent)}, ${key})`);
  const problems: [string, RegExp][] = [
    [`${cart.id}x`, /^.* is not the id of the aggregate key "cart-.*x": pass event_store\.aggregate_id_of\(key\)$/],
    [other, /is not the id of the aggregate key/],
    ["", /the aggregate key has 0 bytes; it must have 1 to 1024/],
    ["x".repeat(1025), /the aggregate key has 1025 bytes/],
  ];
  for (const expected of [0, -2]) {
    for (const [key, message] of problems) {
      const error = await append(key, expected);
      assert.equal(error.code, "UE007");
      assert.match(error.message, message);
    }
    await appendEvents(store, cart, [added]);
  }
  assert.match((await append("cart", 0, other)).message, /is not the id of the aggregate key "cart"/);
  const elements = problems.map(([key]) => ({ aggregate_type: "Cart", aggregate_id: id, aggregate_key: key }));
  const batch = [...elements, { aggregate_type: "Cart", aggregate_key: cart.id }, { aggregate_type: "Cart" }].map(
    (element) => ({ ...element, events: [{ event_type: "A", event_data: {} }] }),
  );
  const answers = await database.sql`
    select sqlstate, last_version from event_store.append_batch(${JSON.stringify(batch)}::text::jsonb)`;
  assert.deepEqual(
    answers.map((answer) => [answer["sqlstate"], answer["last_version"]]),
    [
      ["UE007", null],
      ["UE007", null],
      ["UE007", null],
      ["UE007", null],
      [null, 3],
      ["UE007", null],
    ],
  );
});

test("a key in a batch that is no string is refused, and only that append", async () => {
  const keys = [123, true, ["a"], { a: 1 }, newCart().id];
  const batch = keys.map((key) => ({
    aggregate_type: "Cart",
    aggregate_key: key,
    events: [{ event_type: "A", event_data: {} }],
  }));
  const answers = await database.sql`
    select sqlstate, message from event_store.append_batch(${JSON.stringify(batch)}::text::jsonb)`;
  const refused = (found: string) => ({ sqlstate: "UE007", message: `the aggregate key is not a string: ${found}` });
  assert.deepEqual(
    [...answers],
    [...["123", "true", '["a"]', '{"a": 1}'].map(refused), { sqlstate: null, message: null }],
  );
});

test("two texts with the same hash are refused, not mixed", async () => {
  const cart = newCart();
  await appendEvents(store, cart, [added]);
  await database.admin`
    update event_store.event_stream set aggregate_key = 'other' where stream_id = ${streamIdOf(cart)}`;
  for (const expectedVersion of ["any", 1] as const) {
    await assert.rejects(appendEvents(store, cart, [added], { expectedVersion }), /has the key "other", not "cart-/);
  }
  assert.deepEqual(
    (await readViolations(database.admin)).map(({ invariant }) => invariant),
    ["event_store.aggregate_id_is_derived"],
  );
  await database.admin`
    update event_store.event_stream set aggregate_key = ${cart.id} where stream_id = ${streamIdOf(cart)}`;
});

interface Cart {
  readonly items: readonly string[];
}

const carts: AggregateDefinition<Cart, typeof added> = {
  type: "Cart",
  initialState: () => ({ items: [] }),
  evolve: ({ items }, { data }) => ({ items: [...items, data.sku] }),
  snapshots: { stateVersion: 1, everyEvents: 3 },
};

test("aggregates with a text id are decided on, saved as snapshots, and named in errors", async () => {
  const cart = newCart();
  const add = () => decide(store, carts, cart.id, () => [added, added]);
  assert.equal((await add()).version, 2);
  assert.equal((await add()).version, 4);
  assert.equal((await loadAggregate(store, carts, cart.id)).version, 4);
  const [snapshot] = await database.sql`
    select aggregate_version from event_store.load_snapshot('Cart', event_store.aggregate_id_of(${cart.id}), 1)`;
  assert.equal(snapshot?.["aggregate_version"], 4);
  assert.deepEqual((await loadAggregate(store, carts, aggregateIdOf(cart.id))).state.items.length, 4);

  const named = (Class: typeof VersionConflict | typeof StreamArchived) => (error: VersionConflict) =>
    error instanceof Class &&
    error.message.includes(`the stream of Cart ${cart.id} `) &&
    error.aggregate?.id === cart.id;
  for (const aggregate of [cart, { type: "Cart", id: aggregateIdOf(cart.id) }]) {
    await assert.rejects(appendEvents(store, aggregate, [added], { expectedVersion: 3 }), named(VersionConflict));
  }
  const error = await refusal(
    database.sql`select event_store.archive_stream('Cart', event_store.aggregate_id_of(${cart.id}), 7)`,
  );
  assert.match(error.message, new RegExp(`^the stream of Cart ${cart.id} is at version 4, not at version 7`));
  await database.sql`select event_store.archive_stream('Cart', event_store.aggregate_id_of(${cart.id}))`;
  await assert.rejects(appendEvents(store, cart, [added]), named(StreamArchived));
});

test("an event with a text id becomes a dead letter, is replayed, and is redacted", async () => {
  const cart = newCart("dead-");
  const seen: RecordedEvent[] = [];
  let isBroken = true;
  const definition: ProjectionDefinition = {
    name: "text_ids",
    version: 1,
    async handle(events) {
      const own = events.filter(({ aggregate }) => aggregate.id === cart.id);
      if (isBroken && own.length > 0) throw new Error("no");
      seen.push(...own);
    },
  };
  await appendEvents(store, cart, [added, added]);
  await project(store, { ...definition, maxAttempts: 1, stopWhenCaughtUp: true });
  const letters = await database.sql`
    select aggregate_type, aggregate_id, aggregate_key, aggregate_version from read_model.dead_letter
    where name = 'text_ids' order by aggregate_version`;
  const letter = { aggregate_type: "Cart", aggregate_id: aggregateIdOf(cart.id), aggregate_key: cart.id };
  assert.deepEqual(
    letters.map((row) => ({ ...row })),
    [
      { ...letter, aggregate_version: 1 },
      { ...letter, aggregate_version: 2 },
    ],
  );
  isBroken = false;
  assert.deepEqual(await replayDeadLetters(store, definition), { replayed: 2, remaining: 0 });
  assert.deepEqual(
    seen.map(({ aggregate, aggregateVersion }) => [aggregate, aggregateVersion]),
    [
      [cart, 1],
      [cart, 2],
    ],
  );
  await database.admin`select event_store.redact_event('Cart', ${aggregateIdOf(cart.id)}, 1, 'erasure')`;
  const missing = await refusal(
    database.admin`select event_store.redact_event('Cart', ${aggregateIdOf(cart.id)}, 9, 'erasure')`,
  );
  assert.equal(missing.message, `Cart ${cart.id} has no event 9`);
  assert.deepEqual((await collect(readStream(store, cart)))[0]?.data, {});
});

test("concurrent first appends by text and by UUID give one stream, with the text", async () => {
  const cart = newCart();
  const byUuid = { type: "Cart", id: aggregateIdOf(cart.id) };
  await using other = openTestStore(database);
  const calls = Array.from({ length: 40 }, (_, index) =>
    appendEvents(index % 2 === 0 ? store : other, index % 3 === 0 ? cart : byUuid, [added]),
  );
  await Promise.all(calls);
  const events = await collect(readStream(store, byUuid));
  assert.deepEqual(
    events.map(({ aggregate, aggregateVersion }) => [aggregate.id, aggregateVersion]),
    calls.map((_, index) => [cart.id, index + 1]),
  );
});

test("a stream that is named by text can be asked about, archived, reopened and redacted", async () => {
  const cart = newCart();
  assert.equal(await streamInfo(store, cart), undefined);
  const missing = (error: StreamNotFound) =>
    error instanceof StreamNotFound && error.message.includes(`Cart ${cart.id}`) && error.aggregate?.id === cart.id;
  await assert.rejects(archiveStream(store, cart), missing);
  await assert.rejects(reopenStream(store, cart), missing);
  await appendEvents(store, cart, [added]);
  await archiveStream(store, cart);
  for (const aggregate of [cart, { type: "Cart", id: aggregateIdOf(cart.id) }]) {
    const info = await streamInfo(store, aggregate);
    assert.deepEqual([info?.aggregate, info?.version, info?.archivedAt !== null], [cart, 1, true]);
  }
  assert.equal(await reopenStream(store, cart), 1);
  await appendEvents(store, cart, [added], { expectedVersion: 1 });
  const { password = "", ...administrator } = database.administrator;
  await using administrators = openEventStore({ ...administrator, password });
  await redactEvent(administrators, cart, { aggregateVersion: 1, reason: "erasure" });
  await assert.rejects(redactEvent(administrators, cart, { aggregateVersion: 7, reason: "erasure" }), missing);
  const events = await collect(readAll(store, { aggregate: cart }));
  assert.deepEqual(
    events.map(({ data, aggregate }) => [data, aggregate]),
    [
      [{}, cart],
      [added.data, cart],
    ],
  );
});

test("an archive keeps the texts", async () => {
  await using archives = await withArchives();
  const cart = newCart();
  await using before = openTestStore(archives.database);
  await appendEvents(before, cart, [added]);
  await archives.backUp();
  await archives.restore();
  await using restored = openTestStore(archives.database);
  await appendEvents(restored, cart, [added], { expectedVersion: 1 });
  assert.deepEqual(
    (await collect(readStream(restored, { type: "Cart", id: aggregateIdOf(cart.id) }))).map(
      (event) => event.aggregate.id,
    ),
    [cart.id, cart.id],
  );
});
