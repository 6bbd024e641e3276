import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { type Connection, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
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

test("the race is real: it catches a function that reads the version without a lock", async () => {
  // A function that checks the version without locking the stream, in a schema of its own.
  const seed = await readFile(join(assetsDir, "tests/support/fixtures/seed.sql"), "utf8");
  await using maker = openConnection(database.administrator, { searchPath: "seed, public" });
  await maker.sql.unsafe(seed.replaceAll("event_store", "seed"));
  await using clients = await openClients(database.administrator, clientCount, "seed, public");
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
  /** Distinct codes of the refused appends. */
  readonly codes: readonly string[];
  readonly streams: readonly { readonly id: string }[];
}

/** All clients append concurrently to each stream in turn. Every second stream exists and is at version 1. */
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
  /** One open connection per client. */
  readonly sqls: readonly Sql[];
}

async function openClients(target: ConnectionTarget, count: number, searchPath?: string): Promise<Clients> {
  const options = searchPath === undefined ? {} : { searchPath };
  const connections: Connection[] = Array.from({ length: count }, () => openConnection(target, options));
  await Promise.all(connections.map(({ sql }) => sql`select 1`));
  return {
    sqls: connections.map(({ sql }) => sql),
    async [Symbol.asyncDispose]() {
      await Promise.all(connections.map((connection) => connection[Symbol.asyncDispose]()));
    },
  };
}
