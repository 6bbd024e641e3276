// Readers touch at most ten times the rows they return, however large the log is.
//
// The test counts rows, not plan nodes: an index scan may read a million rows. The counters are those of its own
// transaction, which include what functions do and nothing else. 50,000 events; 1,000,000 with CQRS_TEST_ROUNDS=20.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Connection, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { fillStore } from "../support/fill-store.ts";
import { testRounds } from "../support/runtime.ts";

const eventCount = testRounds(1) * 50_000;
const eventsOfLongStream = 1_000;
/** Every hundredth event of the long stream has a type of its own. */
const lineTypesOfLongStream = "case when number % 100 = 0 then 'Rare' else 'LineChanged' || number % 8 end";
/** The log is filled in this many parts. */
const parts = 10;

/** Streams of one type that get some events after every so many parts of the log. */
interface Category {
  readonly type: string;
  readonly streams: number;
  readonly everyParts: number;
  /** Events per stream and time. */
  readonly events: number;
}

const categories: readonly Category[] = [
  { type: "Few", streams: 5, everyParts: 10, events: 1 },
  { type: "Thousand", streams: 1_000, everyParts: 1, events: 1 },
  { type: "Long", streams: 3, everyParts: 1, events: 100 },
  { type: "Ended", streams: 900, everyParts: 5, events: 1 },
  { type: "Late", streams: 900, everyParts: 10, events: 10 },
];

let database: TestDatabase;
let session: Connection;
before(async () => {
  database = await withDatabase();
  // One connection, with plans made while the tables were empty. Until the server first analyzes them, a minute after
  // they start to grow, finding a rare type costs a read of all positions in a range. Analyzing makes sessions replan.
  session = openConnection(database.administrator);
  for (let time = 0; time < 7; time++) for (const reader of readers) await measure(reader, beforeStart);
  for (let part = 1; part <= parts; part++) {
    await fillStore(database.admin, eventCount / parts, ((part - 1) * eventCount) / parts);
    if (part === parts / 2) await appendStream(database.admin, longStream, lineTypesOfLongStream, eventsOfLongStream);
    for (const category of categories) if (part % category.everyParts === 0) await fillCategory(category, part);
  }
  await database.admin`analyze`;
});
after(async () => {
  await session[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** Events of the long stream and of the categories. */
const otherEvents =
  eventsOfLongStream +
  categories.reduce(
    (sum, { streams, everyParts, events }) => sum + streams * events * Math.floor(parts / everyParts),
    0,
  );

/** In place of the number of events while there is none: read_all() refuses to read from beyond the end. */
const beforeStart = -otherEvents;

interface Reader {
  readonly name: string;
  /** The statement, with the number of events as $1. */
  readonly from: string;
  readonly returns: number;
  /** How many events of a stream, or streams, its filter must look at; @default those that it returns */
  readonly filters?: number;
}

const longStream = "'Order', '00000000-0000-7000-8000-000000000001'";

const readers: readonly Reader[] = [
  { name: "a stream", from: `read_stream(${longStream})`, returns: 1_000 },
  { name: "a stream, in the middle", from: `read_stream(${longStream}, 500, 10)`, returns: 10 },
  { name: "a stream up to a version", from: `read_stream(${longStream}, 500, up_to_version => 520)`, returns: 20 },
  { name: "a stream backwards", from: `read_stream(${longStream}, null, 10, true)`, returns: 10 },
  { name: "a stream backwards, from the middle", from: `read_stream(${longStream}, 500, 10, true)`, returns: 10 },
  {
    name: "a type of a stream, a few",
    from: `read_stream(${longStream}, 500, 10, event_types => '{LineChanged3}')`,
    returns: 10,
  },
  {
    name: "a rare type of a stream",
    from: `read_stream(${longStream}, event_types => '{Rare}')`,
    returns: 10,
    filters: eventsOfLongStream,
  },
  {
    name: "a missing type of a stream, backwards",
    from: `read_stream(${longStream}, null, 10, true, event_types => '{None}')`,
    returns: 0,
    filters: eventsOfLongStream,
  },
  {
    name: "a common type of a missing stream",
    from: "read_stream('Order', gen_random_uuid(), event_types => '{LineChanged3}')",
    returns: 0,
  },
  {
    name: "a stream with its key",
    from: `read_stream(${longStream}, 500, 10) where aggregate_key is null`,
    returns: 10,
  },
  { name: "what is known about a stream", from: `stream_info(${longStream}) where updated_at is not null`, returns: 1 },
  { name: "a missing stream", from: "read_stream('Order', gen_random_uuid())", returns: 0 },
  { name: "the log's beginning", from: "read_all(0)", returns: 1_000 },
  { name: "the log's middle", from: "read_all($1 / 3, 10)", returns: 10 },
  { name: "the log's end", from: "read_all($1, 1000)", returns: 1_000 },
  { name: "the log behind its end", from: `read_all($1 + ${otherEvents})`, returns: 0 },
  { name: "a common type", from: "read_all(0, 1000, '{LineChanged3}')", returns: 1_000 },
  { name: "a common type, a few", from: "read_all($1 / 3, 3, '{LineChanged3}')", returns: 3 },
  { name: "all common types", from: `read_all(0, 1000, '{${lineTypes().join()}}')`, returns: 1_000 },
  { name: "a rare type", from: "read_all(0, 1000, '{Rare}')", returns: 10 },
  { name: "a rare type, at the log's end", from: "read_all($1, 1000, '{Rare}')", returns: 0 },
  { name: "a rare and a common type", from: "read_all(0, 1000, '{Rare,LineChanged3}')", returns: 1_000 },
  { name: "a missing type", from: "read_all(0, 1000, '{None}')", returns: 0 },
  { name: "an aggregate type", from: "read_all(0, 1000, null, '{Invoice}')", returns: 1_000 },
  { name: "a type of 5 streams", from: "read_all(0, 1000, null, '{Few}')", returns: 5 },
  { name: "a type of 1,000 streams", from: "read_all(0, 1000, null, '{Thousand}')", returns: 1_000 },
  {
    name: "a type of 1,000 streams, in the middle",
    from: "read_all($1 / 2, 1000, null, '{Thousand}')",
    returns: 1_000,
  },
  { name: "a type of 3 long streams", from: "read_all(0, 1000, null, '{Long}')", returns: 1_000 },
  { name: "a type of 3 long streams, in the middle", from: "read_all($1 / 2, 300, null, '{Long}')", returns: 300 },
  {
    name: "a type of 900 streams that are all at the end of the log, a few",
    from: "read_all(0, 10, null, '{Late}')",
    returns: 10,
    filters: 900,
  },
  { name: "two types", from: "read_all(0, 1000, null, '{Few,Long}')", returns: 1_000 },
  { name: "a missing aggregate type", from: "read_all(0, 1000, null, '{None}')", returns: 0 },
  {
    name: "one stream of the log",
    from: `read_all(0, 1000, of_stream => stream_id_of(${longStream}))`,
    returns: 1_000,
  },
  { name: "an event type within an aggregate type", from: "read_all(0, 1000, '{Rare}', '{Order}')", returns: 10 },
];

for (const reader of readers) {
  test(`reading ${reader.name} touches at most ten times the rows it returns or filters`, () => check(reader));
}

test("reading a type of a stream does not read other streams, even if the planner believes the type to be rare", async () => {
  const type = "Unknown to the statistics";
  const other = longStream.replace("0001'", "0002'");
  await appendStream(database.admin, other, `'${type}'`, eventsOfLongStream * 12);
  const from = `read_stream(${longStream}, event_types => '{${type}}')`;
  await check({ name: type, from, returns: 0, filters: eventsOfLongStream });
});

async function check(reader: Reader): Promise<void> {
  const { returned, rows, entries, blocks } = await measure(reader);
  assert.equal(returned, reader.returns);
  // Even if nothing is returned, planning may have looked at the ends of an index.
  const most = Math.max(returned, reader.filters ?? 1) * 10;
  assert.ok(rows <= most, `${rows} rows for ${returned} events`);
  assert.ok(entries <= most, `${entries} index entries for ${returned} events`);
  // Entries skipped inside an index are not counted, but their blocks are. Each row counted accounts for a descent of
  // up to three levels and a visit, and each empty range for a descent.
  assert.ok(blocks <= (rows + entries) * 4 + 100, `${blocks} blocks for ${rows} rows`);
}

function lineTypes(): string[] {
  return Array.from({ length: 8 }, (_, index) => `LineChanged${index}`);
}

/** @param type the type of event `number`, as SQL */
async function appendStream(admin: Sql, stream: string, type: string, count: number): Promise<void> {
  await admin.unsafe(
    `select event_store.append(
      event_store.stream_id_of(${stream}), ${stream}, 0,
      (
        select jsonb_agg(jsonb_build_object('event_type', ${type}, 'event_data', '{}'::jsonb))
        from generate_series(1, $1::int) as number
      )
    )`,
    [count],
  );
}

/** Appends the next events of each stream of a category. */
async function fillCategory({ type, streams, events }: Category, part: number): Promise<void> {
  await database.admin`
    with stream as (
      insert into event_store.event_stream as stream (stream_id, aggregate_id, version, aggregate_type)
      select event_store.stream_id_of(${type}, id), id, ${events}, ${type}
      from generate_series(1, ${streams}::int) as number, lateral (select md5(${type} || number)::uuid) as named (id)
      on conflict (stream_id) do update set version = stream.version + excluded.version
      returning stream_id, version
    )
    insert into event_store.domain_event (stream_id, aggregate_version, event_type, event_data)
    select stream_id, version - ${events} + number, 'Changed', jsonb_build_object('part', ${part}::int)
    from generate_series(1, ${events}::int) as number
    cross join stream
    order by number`;
}

interface Counters {
  /** Rows of the tables, whether returned or not. */
  readonly rows: number;
  readonly entries: number;
  readonly blocks: number;
}

async function measure({ from }: Reader, events = eventCount): Promise<Counters & { readonly returned: number }> {
  return await inTransaction(session.sql, async (tx) => {
    const start = await readCounters(tx);
    const statement = `select count(*)::int as returned from event_store.${from}`.replace(
      " stream_id_of",
      " event_store.$&",
    );
    const parameters = from.includes("$1") ? [events] : [];
    const [row] = await tx.unsafe<{ returned: number }[]>(statement, parameters, { prepare: true });
    const end = await readCounters(tx);
    return {
      returned: row?.returned ?? Number.NaN,
      rows: end.rows - start.rows,
      entries: end.entries - start.entries,
      blocks: end.blocks - start.blocks,
    };
  });
}

/** The counters of this session. They are flushed between transactions, so compare them only within one. */
async function readCounters(tx: Sql): Promise<Counters> {
  const [counters] = await tx<Counters[]>`
    select
      coalesce(sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))
        filter (where relkind = 'r'), 0)::int as rows,
      coalesce(sum(pg_stat_get_xact_tuples_returned(oid)) filter (where relkind = 'i'), 0)::int as entries,
      coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::int as blocks
    from pg_class
    where relnamespace = 'event_store'::regnamespace and relkind in ('r', 'i')`;
  if (counters === undefined) throw new Error("nothing was counted");
  return counters;
}
