// What is read through the streams is what a scan of the log finds, however the streams are distributed over the log.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { testRounds } from "../support/runtime.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

/** Streams per aggregate type: one, a few, many; of `Filler`, too many to be read one by one. */
const streams = { Single: 1, Few: 4, Many: 300, Filler: 1_500 };
const eventCount = 12_000;

/**
 * Stores events of random streams. A stream is active in a window of the log, some much more than others; `Single`
 * has nearly all of its events near the end.
 */
async function fillLog(): Promise<void> {
  await database.admin`
    with type as (
      select * from jsonb_each_text(${JSON.stringify(streams)}::text::jsonb) as type (name, streams)
    ),
    event as (
      select name, number, (streams::integer * power(random(), 3))::integer as stream
      from generate_series(1, ${eventCount}::int) as number
      cross join lateral (
        select * from type
        where number > 0 and (name <> 'Single' or number > ${eventCount}::int * 0.9 or random() < 0.01)
        order by random() * case name when 'Filler' then 8 when 'Few' then 0.8 else 1 end desc
        limit 1
      ) as chosen
    ),
    -- Of the streams of Many, each is active in one tenth of the log.
    place as (
      select number, name, case when name = 'Many' then stream % 30 + number * 10 / ${eventCount + 1} * 30 else stream end
        as stream
      from event
    ),
    versioned as (
      select number, name, md5(name || stream)::uuid as id, row_number() over (partition by name, stream order by number)
        as version
      from place
    ),
    stream as (
      insert into event_store.event_stream (stream_id, aggregate_id, version, aggregate_type)
      select event_store.stream_id_of(name, id), id, max(version), name from versioned group by name, id
    )
    insert into event_store.domain_event (stream_id, aggregate_version, event_type, event_data)
    select event_store.stream_id_of(name, id), version, 'Type' || number % 3, '{}' from versioned order by number`;
}

interface Question {
  readonly after: number;
  readonly until: number;
  readonly count: number | null;
  readonly types: readonly string[];
}

function anyNumber(below: number): number {
  return Math.floor(Math.random() * below);
}

function anyQuestion(): Question {
  const from = Math.random() < 0.2 ? 0 : anyNumber(eventCount);
  const until = Math.random() < 0.5 ? eventCount : from + anyNumber(eventCount - from);
  const count = [1, 2, 10, 100, 1_000, null][anyNumber(6)] as number | null;
  const types = [["Single"], ["Few"], ["Many"], ["Few", "Single"], ["Few", "Many", "None"]][anyNumber(5)] as string[];
  return { after: from, until, count, types };
}

function textArray(values: readonly string[]): string {
  return `{${values.join()}}`;
}

test("the events of aggregate types are those that a scan finds, from anywhere in the log", async () => {
  await fillLog();
  let throughStreams = 0;
  for (let round = 0; round < 100 * testRounds(1); round++) {
    const { after, until, count, types } = anyQuestion();
    const [row] = await database.admin<{ expected: string[]; found: string[] | null; read: string[] }[]>`
      select
        array(
          select global_position::text
          from event_store.domain_event
          join event_store.event_stream using (stream_id)
          where aggregate_type = any (${textArray(types)}::text::text[])
            and global_position > ${after} and global_position <= ${until}
          order by domain_event.global_position
          limit ${count}
        ) as expected,
        event_store.find_positions(null, ${textArray(types)}::text::text[], null, ${after}, ${until}, ${count})::text[]
          as found,
        array(
          select global_position::text
          from event_store.read_all(${after}, ${count}, null, ${textArray(types)}::text::text[], ${until})
        ) as read`;
    const what = JSON.stringify({ after, until, count, types });
    assert.deepEqual(row?.read, row?.expected, what);
    if (row?.found === null) continue;
    throughStreams++;
    assert.deepEqual(row?.found, row?.expected, what);
  }
  assert.ok(throughStreams > 15, `only ${throughStreams} were read through their streams`);
});

test("the events of one stream of the log, with or without event types, are those that a scan finds", async () => {
  const ids = await database.admin<{ id: string; type: string }[]>`
    select stream_id as id, aggregate_type as type from event_store.event_stream order by version desc limit 20`;
  for (let round = 0; round < 60 * testRounds(1); round++) {
    const { after, until, count } = anyQuestion();
    const { id, type } = ids[anyNumber(ids.length)] as { id: string; type: string };
    const events = [null, "{Type1}", "{Type0,Type2}", "{None}"][anyNumber(4)] as string | null;
    const aggregates = [null, `{${type}}`, "{None}"][anyNumber(3)] as string | null;
    const [row] = await database.admin<{ expected: string[]; read: string[] }[]>`
      select
        array(
          select global_position::text
          from event_store.domain_event
          where stream_id = ${id} and ${aggregates !== "{None}"}::boolean
            and (${events}::text::text[] is null or event_type = any (${events}::text::text[]))
            and global_position > ${after} and global_position <= ${until}
          order by domain_event.global_position
          limit ${count}
        ) as expected,
        array(
          select global_position::text
          from event_store.read_all(
            ${after}, ${count}, ${events}::text::text[], ${aggregates}::text::text[], ${until}, ${id}
          )
        ) as read`;
    assert.deepEqual(row?.read, row?.expected, JSON.stringify({ after, until, count, events, aggregates }));
  }
});
