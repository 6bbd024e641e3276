import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { type Connection, type ConnectionTarget, connect, type Sql } from "../../scripts/lib/postgres/connect.ts";
import { append, placed } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { testRounds } from "../support/runtime.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

const clientCount = 16;
const streamCount = 50;

test(`append_events() accepts ${streamCount} of ${clientCount} clients' appends to ${streamCount} streams`, async () => {
  await using clients = await openClients(database.application, clientCount);
  for (let round = 0; round < testRounds(2); round++) {
    const { accepted, codes, streams } = await race(clients.sqls, streamCount, "event_store.append_events");
    assert.equal(accepted, streamCount);
    assert.deepEqual(codes, ["UE001", "UE002"]);
    const rows = await database.sql<{ events: number; version: number; highest: number }[]>`
        select version, count(*)::int as events, max(aggregate_version) as highest
        from event_store.event_stream join event_store.domain_event using (stream_id)
        where aggregate_id = any (${`{${streams.map(({ id }) => id).join(",")}}`}::text::uuid[]) group by stream_id`;
    assert.equal(rows.length, streamCount);
    for (const row of rows) assert.deepEqual([row.events, row.highest], [row.version, row.version]);
  }
});

test("the race is one: a function that reads the version without a lock is caught", async () => {
  await database.admin.unsafe(seedFunction);
  await using clients = await openClients(database.administrator, clientCount);
  let accepted = 0;
  for (let round = 0; round < 20 && accepted <= streamCount; round++) {
    accepted = (await race(clients.sqls, streamCount, "seed.append_events")).accepted;
  }
  assert.ok(accepted > streamCount, `${accepted} accepted`);
});

test("append_events() accepts all of 8 clients that expect any version, and numbers their events without gaps", async () => {
  await using clients = await openClients(database.application, 8);
  for (let round = 0; round < testRounds(5); round++) {
    const id = randomUUID();
    const batches = clients.sqls.map((sql, index) => append(sql, { id, events: Array(1 + (index % 3)).fill(placed) }));
    const [stream = ""] = await Promise.all(batches);
    const count = 1 + 2 + 3 + 1 + 2 + 3 + 1 + 2;
    const rows = await database.sql<{ version: number }[]>`
      select aggregate_version as version from event_store.domain_event
      where stream_id = ${stream} order by aggregate_version`;
    assert.deepEqual(
      rows.map(({ version }) => version),
      Array.from({ length: count }, (_, index) => index + 1),
    );
  }
});

interface RaceResult {
  readonly accepted: number;
  /** Codes of those refused, each once. */
  readonly codes: readonly string[];
  readonly streams: readonly { readonly id: string }[];
}

/** Lets all clients append at once to each stream in turn: every second one exists and is at version 1. */
async function race(clients: readonly Sql[], streamCount: number, by: string): Promise<RaceResult> {
  const streams = Array.from({ length: streamCount }, (_, index) => ({ id: randomUUID(), expected: index % 2, by }));
  let accepted = 0;
  const codes = new Set<string>();
  for (const stream of streams) {
    if (stream.expected === 1) await append(clients[0] as Sql, { ...stream, expected: 0 });
    const results = await Promise.allSettled(clients.map((sql) => append(sql, stream)));
    for (const result of results) {
      if (result.status === "fulfilled") accepted++;
      else codes.add((result.reason as { code: string }).code);
    }
  }
  return { accepted, codes: [...codes].toSorted(), streams };
}

interface Clients extends AsyncDisposable {
  /** One connection each, open already. */
  readonly sqls: readonly Sql[];
}

async function openClients(target: ConnectionTarget, count: number): Promise<Clients> {
  const connections: Connection[] = Array.from({ length: count }, () => connect(target));
  await Promise.all(connections.map(({ sql }) => sql`select 1`));
  return {
    sqls: connections.map(({ sql }) => sql),
    async [Symbol.asyncDispose]() {
      await Promise.all(connections.map((connection) => connection[Symbol.asyncDispose]()));
    },
  };
}

/** The seed document's function as it stands there, with gen_random_uuid() and in a schema where it can run. */
const seedFunction = `
  create schema seed;
  create table seed.event_stream (
    stream_id uuid primary key default gen_random_uuid(),
    aggregate_type varchar(255) not null,
    aggregate_id uuid not null,
    created_at timestamp with time zone default current_timestamp,
    version integer not null default 0,
    unique (aggregate_type, aggregate_id)
  );
  create table seed.domain_event (
    event_id uuid primary key default gen_random_uuid(),
    stream_id uuid not null references seed.event_stream (stream_id),
    event_type varchar(255) not null,
    event_version integer not null,
    aggregate_version integer not null,
    event_data jsonb not null,
    metadata jsonb,
    occurred_at timestamp with time zone default current_timestamp,
    causation_id uuid,
    correlation_id uuid
  );
  create function seed.append_events(
    p_aggregate_type varchar, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]
  ) returns uuid language plpgsql set search_path = seed as $$
  declare
    v_stream_id uuid;
    v_current_version integer;
    v_event jsonb;
    v_new_version integer;
  begin
    insert into event_stream (aggregate_type, aggregate_id, version)
    values (p_aggregate_type, p_aggregate_id, 0)
    on conflict (aggregate_type, aggregate_id) do nothing
    returning stream_id, version into v_stream_id, v_current_version;

    if v_stream_id is null then
      select stream_id, version into v_stream_id, v_current_version
      from event_stream
      where aggregate_type = p_aggregate_type and aggregate_id = p_aggregate_id;
    end if;

    if v_current_version != p_expected_version then
      raise exception 'Concurrency violation: expected version %, but current version is %',
        p_expected_version, v_current_version;
    end if;

    v_new_version := v_current_version;
    foreach v_event in array p_events loop
      v_new_version := v_new_version + 1;
      insert into domain_event (
        stream_id, event_type, event_version, aggregate_version, event_data, metadata, causation_id, correlation_id
      ) values (
        v_stream_id,
        v_event->>'event_type',
        (v_event->>'event_version')::integer,
        v_new_version,
        v_event->'event_data',
        v_event->'metadata',
        (v_event->>'causation_id')::uuid,
        (v_event->>'correlation_id')::uuid
      );
    end loop;

    update event_stream set version = v_new_version where stream_id = v_stream_id;
    return v_stream_id;
  end
  $$;
`;
