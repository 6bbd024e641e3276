import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { append, placed } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";

interface StoredEvent {
  readonly event_id: string;
  readonly aggregate_version: number;
  readonly event_type: string;
  readonly event_version: number;
  readonly event_data: unknown;
  readonly metadata: unknown;
  readonly causation_id: string | null;
  readonly correlation_id: string | null;
}

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly detail: string;
  readonly hint: string;
}

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

test("append_events() stores an example event as the application's login", async () => {
  const { sql } = database;
  const [row] = await sql<{ login: string; id: string }[]>`
      select session_user::text as login,
        event_store.append_events('Order', gen_random_uuid(), 0, array['{"event_type":"OrderPlaced","event_version":1,"event_data":{"total":42}}']::jsonb[]) as id`;
  assert.equal(row?.login, database.application.user);
  const [stream] = await sql`
      select version, aggregate_type, event_store.stream_id_of(aggregate_type, aggregate_id) as derived
      from event_store.event_stream where stream_id = ${row.id}`;
  assert.deepEqual({ ...stream }, { version: 1, aggregate_type: "Order", derived: row.id });
  const [event, ...others] = await readEvents(sql, row.id);
  assert.deepEqual(others, []);
  assert.deepEqual(
    { ...event, event_id: undefined },
    {
      event_id: undefined,
      aggregate_version: 1,
      event_type: "OrderPlaced",
      event_version: 1,
      event_data: { total: 42 },
      metadata: null,
      causation_id: null,
      correlation_id: null,
    },
  );
});

test("append_events() stores id, metadata, causation and correlation of an event", async () => {
  const given = {
    event_id: randomUUID(),
    event_type: "OrderPaid",
    event_version: 7,
    event_data: { amount: "12.30", currency: "€" },
    metadata: { user: "Jürgen", tenant: 3 },
    causation_id: randomUUID(),
    correlation_id: randomUUID(),
  };
  const stream = await append(database.sql, { events: [given] });
  const [event] = await readEvents(database.sql, stream);
  assert.deepEqual({ ...event }, { ...given, aggregate_version: 1 });
});

test("append_events() treats an absent event_version as 1, and null for an optional key as absent", async () => {
  const event = { event_type: "A", event_data: {}, event_id: null, metadata: null, causation_id: null };
  const stream = await append(database.sql, { events: [event] });
  const [stored] = await readEvents(database.sql, stream);
  assert.equal(stored?.event_version, 1);
  assert.match(stored.event_id, /^[0-9a-f-]{36}$/);
  assert.equal(stored.metadata, null);
  const [row] = await database.sql`
      select count(*)::int as count from event_store.domain_event where stream_id = ${stream} and metadata is null`;
  assert.equal(row?.["count"], 1);
});

test("append_events() keeps the order of a batch and numbers the events from 1 without gaps", async () => {
  const { sql } = database;
  const id = randomUUID();
  const types = Array.from({ length: 25 }, (_, index) => `Step${index + 1}`);
  const events = types.map((event_type) => ({ event_type, event_data: {} }));
  const stream = await append(sql, { id, expected: 0, events: events.slice(0, 10) });
  assert.equal(await append(sql, { id, expected: 10, events: events.slice(10) }), stream);
  const stored = await readEvents(sql, stream);
  assert.deepEqual(
    stored.map(({ event_type, aggregate_version }) => [aggregate_version, event_type]),
    types.map((type, index) => [index + 1, type]),
  );
  const [row] = await sql`
      select array_agg(aggregate_version order by global_position) = array_agg(aggregate_version order by aggregate_version)
        as "isSameOrder"
      from event_store.domain_event where stream_id = ${stream}`;
  assert.equal(row?.["isSameOrder"], true);
});

test("append_events() stores an event of 2 MB", async () => {
  const text = "ü".repeat(1024 * 1024);
  const stream = await append(database.sql, { events: [{ event_type: "Scanned", event_data: { text } }] });
  const [event] = await readEvents(database.sql, stream);
  // Not assert.equal(): its message would be 2 MB long.
  assert.ok(JSON.stringify(event?.event_data) === JSON.stringify({ text }));
});

const types = ["Order", "Größe", "注文", "🛒", "a:b", `o'quote "double" back\\slash`, " ", "x".repeat(255)];

test("stream_id_of() is a UUIDv5 that clients can compute, for types in any script", async () => {
  for (const type of types) {
    const id = randomUUID();
    const [row] = await database.sql`select event_store.stream_id_of(${type}, ${id}) as id`;
    assert.equal(row?.["id"], uuidV5(`${type}:${id}`), type);
    assert.equal(await append(database.sql, { type, id }), row["id"]);
  }
});

test("stream_id_of() distinguishes aggregates of one id and two types", async () => {
  const id = randomUUID();
  const streams = [
    await append(database.sql, { type: "Order", id }),
    await append(database.sql, { type: "order", id }),
  ];
  assert.equal(new Set(streams).size, 2);
});

for (const expected of [null, -2]) {
  test(`append_events() accepts a stream at any version if ${expected} is expected`, async () => {
    const id = randomUUID();
    const stream = await append(database.sql, { id, expected });
    await append(database.sql, { id, expected });
    assert.deepEqual(await versions(stream), [1, 2]);
  });
}

for (const expected of [0, -1]) {
  test(`append_events() accepts only a new stream if ${expected} is expected, else UE002`, async () => {
    const id = randomUUID();
    const stream = await append(database.sql, { id, expected, events: [placed, placed] });
    const error = await refusal(append(database.sql, { id, expected }));
    assert.equal(error.code, "UE002");
    assert.equal(error.message, `the stream of Order ${id} already exists, at version 2`);
    assert.match(error.hint, /^Nothing was appended\. Load the aggregate again/);
    assert.deepEqual(JSON.parse(error.detail), { expected, actual: 2, aggregate_type: "Order", aggregate_id: id });
    assert.deepEqual(await versions(stream), [1, 2]);
  });
}

test("append_events() accepts exactly the expected version, else UE001", async () => {
  const id = randomUUID();
  const stream = await append(database.sql, { id, expected: 0 });
  await append(database.sql, { id, expected: 1 });
  for (const expected of [1, 3, 2_147_483_647]) {
    const error = await refusal(append(database.sql, { id, expected }));
    assert.equal(error.code, "UE001");
    assert.equal(error.message, `the stream of Order ${id} is at version 2, not at version ${expected}`);
    assert.deepEqual(JSON.parse(error.detail), { expected, actual: 2, aggregate_type: "Order", aggregate_id: id });
  }
  assert.deepEqual(await versions(stream), [1, 2]);
});

test("append_events() refuses a version of a stream that does not exist with UE001, and does not create it", async () => {
  const id = randomUUID();
  const error = await refusal(append(database.sql, { id, expected: 5 }));
  assert.equal(error.code, "UE001");
  assert.deepEqual(JSON.parse(error.detail), { expected: 5, actual: 0, aggregate_type: "Order", aggregate_id: id });
  assert.equal(await countStreams(id), 0);
});

test("append_events() accepts only an existing stream if -4 is expected, else UE003", async () => {
  const id = randomUUID();
  const error = await refusal(append(database.sql, { id, expected: -4 }));
  assert.equal(error.code, "UE003");
  assert.equal(error.message, `the stream of Order ${id} does not exist`);
  assert.deepEqual(JSON.parse(error.detail), { expected: -4, actual: 0, aggregate_type: "Order", aggregate_id: id });
  assert.equal(await countStreams(id), 0);
  const stream = await append(database.sql, { id });
  await append(database.sql, { id, expected: -4 });
  assert.deepEqual(await versions(stream), [1, 2]);
});

const good = literal(placed);
const event = (changes: object) => `array[${literal({ ...placed, ...changes })}]`;
const without = (key: keyof typeof placed) => event({ [key]: undefined });
const id = "gen_random_uuid()";
/** What is wrong, the arguments, and the expected message. */
const notExpected =
  "is not an expected version: pass a version, 0 for a new stream, -4 for an existing one, or null for any";
const noType = "event 1 has no event_type that is a non-empty string";

const cases: readonly (readonly [string, string, string])[] = [
  ["an empty batch", `'Order', ${id}, 0, '{}'`, "there are no events to append"],
  ["null for the batch", `'Order', ${id}, 0, null`, "there are no events to append"],
  ["a null among the events", `'Order', ${id}, 0, array[${good}, null]`, "event 2 is a JSON null, not a JSON object"],
  [
    "a JSON null among the events",
    `'Order', ${id}, 0, array['null'::jsonb]`,
    "event 1 is a JSON null, not a JSON object",
  ],
  ["an event that is a number", `'Order', ${id}, 0, array['5'::jsonb]`, "event 1 is a JSON number, not a JSON object"],
  [
    "an event that is an array",
    `'Order', ${id}, 0, array['[{}]'::jsonb]`,
    "event 1 is a JSON array, not a JSON object",
  ],
  [
    "an array of two dimensions",
    `'Order', ${id}, 0, array[[${good}], [${good}]]`,
    "event 1 is a JSON array, not a JSON object",
  ],
  ["an unknown key", `'Order', ${id}, 0, ${event({ evnt_id: 1 })}`, 'event 1 has the unknown key "evnt_id"'],
  ["no event_type", `'Order', ${id}, 0, ${without("event_type")}`, noType],
  ["an event_type that is null", `'Order', ${id}, 0, ${event({ event_type: null })}`, noType],
  ["an event_type that is a number", `'Order', ${id}, 0, ${event({ event_type: 5 })}`, noType],
  ["an empty event_type", `'Order', ${id}, 0, ${event({ event_type: "" })}`, noType],
  [
    "an event_type of 300 characters",
    `'Order', ${id}, 0, ${event({ event_type: "x".repeat(300) })}`,
    "the event_type of event 1 has 300 characters; at most 255 are allowed",
  ],
  ...[0, -1, 1.5, "x", null, 1e12, true, {}].map(
    (version) =>
      [
        `the event_version ${JSON.stringify(version)}`,
        `'Order', ${id}, 0, ${event({ event_version: version })}`,
        `the event_version of event 1 is not an integer from 1 to 999999999: ${JSON.stringify(version)}`,
      ] as const,
  ),
  [
    "no event_data",
    `'Order', ${id}, 0, ${without("event_data")}`,
    "event 1 has no event_data; write {} for an event without data",
  ],
  [
    "event_data that is null",
    `'Order', ${id}, 0, ${event({ event_data: null })}`,
    "event 1 has no event_data; write {} for an event without data",
  ],
  ...["nonsense", "", 5, {}].map(
    (value) =>
      [
        `the event_id ${JSON.stringify(value)}`,
        `'Order', ${id}, 0, ${event({ event_id: value })}`,
        `the event_id of event 1 is not a UUID: ${JSON.stringify(value)}`,
      ] as const,
  ),
  ...["causation_id", "correlation_id"].flatMap((key) =>
    ["", 5, {}].map(
      (value) =>
        [
          `the ${key} ${JSON.stringify(value)}`,
          `'Order', ${id}, 0, ${event({ [key]: value })}`,
          `the ${key} of event 1 is neither a UUID nor text of 1 to 1024 bytes: ${JSON.stringify(value)}`,
        ] as const,
    ),
  ),
  ["the expected version -3", `'Order', ${id}, -3, array[${good}]`, `-3 ${notExpected}`],
  ["the expected version -5", `'Order', ${id}, -5, array[${good}]`, `-5 ${notExpected}`],
  ["an empty aggregate type", `'', ${id}, 0, array[${good}]`, "the aggregate type is missing"],
  ["null for the aggregate type", `null, ${id}, 0, array[${good}]`, "the aggregate type is missing"],
  [
    "an aggregate type of 256 characters",
    `repeat('x', 256), ${id}, 0, array[${good}]`,
    "the aggregate type has 256 characters; at most 255 are allowed",
  ],
  ["null for the aggregate id", `'Order', null, 0, array[${good}]`, "the aggregate id is missing"],
];

for (const [what, words, sentence] of cases) {
  test(`append_events() refuses ${what} with UE007`, async () => {
    const before = await countRows();
    const error = await refusal(database.sql.unsafe(`select event_store.append_events(${words})`));
    assert.deepEqual([error.code, error.message], ["UE007", sentence]);
    assert.match(error.hint, /^Nothing was appended\./);
    assert.deepEqual(Object.keys(JSON.parse(error.detail)), ["expected", "actual", "aggregate_type", "aggregate_id"]);
    assert.deepEqual(await countRows(), before);
  });
}

test("append_events() stores nothing of a batch with a bad event in its middle", async () => {
  const id = randomUUID();
  const stream = await append(database.sql, { id });
  const error = await refusal(append(database.sql, { id, events: [placed, { event_type: "" }, placed] }));
  assert.deepEqual([error.code, error.message], ["UE007", "event 2 has no event_type that is a non-empty string"]);
  assert.deepEqual(await versions(stream), [1]);
});

test("append_events() stores nothing of a batch if an event_id is taken", async () => {
  const [id, event_id] = [randomUUID(), randomUUID()];
  const stream = await append(database.sql, { id, events: [{ ...placed, event_id }] });
  for (const aggregate of [id, randomUUID()]) {
    const error = await refusal(
      append(database.sql, { id: aggregate, events: [placed, { ...placed, event_id }, placed] }),
    );
    assert.equal(error.code, "UE004");
  }
  assert.deepEqual(await versions(stream), [1]);
  const [row] = await database.sql`select version from event_store.event_stream where stream_id = ${stream}`;
  assert.equal(row?.["version"], 1);
});

function readEvents(sql: Sql, stream: string): Promise<StoredEvent[]> {
  return sql<StoredEvent[]>`
    select event_id, aggregate_version, event_type, event_version, event_data, metadata, causation_id, correlation_id
    from event_store.domain_event where stream_id = ${stream} order by aggregate_version`.then((rows) => [...rows]);
}

async function versions(stream: string): Promise<number[]> {
  return (await readEvents(database.sql, stream)).map(({ aggregate_version }) => aggregate_version);
}

async function countStreams(aggregateId: string): Promise<number> {
  const [row] = await database.sql<{ count: number }[]>`
    select count(*)::int as count from event_store.event_stream where aggregate_id = ${aggregateId}`;
  return row?.count ?? -1;
}

async function countRows(): Promise<unknown> {
  const [row] = await database.sql`
    select (select count(*) from event_store.event_stream) as streams,
           (select count(*) from event_store.domain_event) as events`;
  return row;
}

async function refusal(work: PromiseLike<unknown>): Promise<Refusal> {
  try {
    await work;
  } catch (error) {
    return error as Refusal;
  }
  return assert.fail("it was not refused");
}

function literal(event: object): string {
  return `'${JSON.stringify(event).replaceAll("'", "''")}'::jsonb`;
}

/** Repeated here on purpose: a change to the SQL would lose every stream that is stored. */
const namespace = Buffer.from("6dd05592e45b4368838faefdd7d64854", "hex");

/** RFC 9562, section 5.5. */
function uuidV5(name: string): string {
  const hash = createHash("sha1").update(namespace).update(name, "utf8").digest().subarray(0, 16);
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return hash.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
