import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { append, placed } from "../support/append.ts";
import { withArchives } from "../support/archive.ts";
import { eventually } from "../support/projection.ts";

const redact = (sql: Sql, id: string, version: number, reason: string, data = "{}") =>
  sql`select event_store.redact_event('Order', ${id}, ${version}, ${reason}, ${data}::text::jsonb)`;

test("a restore redacts again what was redacted after the archive was written, and nothing else", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  const stream = await append(database.sql, { id, events: [placed, placed, placed, placed] });
  await database.sql`select event_store.save_snapshot('Order', ${id}, 2, 1, '{}')`;
  await database.sql`select event_store.save_snapshot('Order', ${id}, 4, 2, '{}')`;
  await redact(database.admin, id, 4, "before");
  await archives.backUp();
  await redact(database.admin, id, 3, "first", '{"name":"A."}');
  await redact(database.admin, id, 3, "second", '{"name":"-","list":[null,1e100]}');
  await append(database.sql, { id });
  await redact(database.admin, id, 5, "of an event that the archive does not contain");
  const before = await readRedacted(database.admin);
  const { redacted } = await archives.restore();
  assert.equal(redacted, 1);
  assert.deepEqual(await readRedacted(database.admin), {
    events: before.events.slice(0, 4),
    records: before.records.filter(({ version }) => version < 5),
  });
  const snapshots = await database.sql`select state_version from event_store.snapshot where stream_id = ${stream}`;
  assert.deepEqual([...snapshots], [{ state_version: 1 }], "only the snapshot of version 2 remains");
  assert.equal((await archives.restore()).redacted, 1);
});

test("a restore does not redact a different event at the stream and version of a redacted one", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id });
  await archives.backUp();
  await append(database.sql, { id });
  const { archive } = await archives.backUp();
  await archives.restore({ archive: (await archives.backUp()).archive });
  await archives.restore({ archive, until: { position: 1n }, onlyEventStore: true });
  await append(database.sql, { id });
  await redact(database.admin, id, 2, "another one");
  const { redacted } = await archives.restore({ archive });
  assert.equal(redacted, 0);
  const { events } = await readRedacted(database.admin);
  assert.deepEqual(
    events.map(({ data }) => data),
    [placed.event_data, placed.event_data],
  );
});

test("a restore into another database applies all pages of redactions of the stack's own", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const ids = Array.from({ length: 45 }, () => randomUUID());
  for (const id of ids) await append(database.sql, { id, events: [placed, placed] });
  await archives.backUp();
  for (const id of ids) await redact(database.admin, id, 1, "asked for");
  const into = `${database.name}_copy`;
  try {
    assert.equal((await archives.restore({ into })).redacted, 45);
    await using copy = openConnection({ ...database.administrator, database: into });
    assert.deepEqual(await readRedacted(copy.sql), await readRedacted(database.admin));
  } finally {
    await database.admin.unsafe(`drop database if exists ${into} with (force)`);
  }
});

test("events redacted during a restore are redacted in the restored database", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id, events: Array.from({ length: 100 }, () => placed) });
  await archives.backUp();
  let acknowledged = 0;
  const redacting = (async () => {
    // Stops once the restore ends this session.
    for (; ; acknowledged++) await redact(database.admin, id, 1 + (acknowledged % 100), `${acknowledged}`);
  })().catch(() => {});
  await eventually(() => acknowledged > 100);
  const before = acknowledged;
  await archives.restore();
  await redacting;
  const records = await database.sql<{ reason: string }[]>`select reason from event_store.redaction`;
  const missing = new Set(Array.from({ length: acknowledged }, (_, number) => `${number}`));
  for (const { reason } of records) missing.delete(reason);
  assert.deepEqual([...missing], []);
  assert.ok(acknowledged > before);
  const { events } = await readRedacted(database.sql);
  assert.ok(events.every(({ data }) => Object.keys(data).length === 0));
});

interface Redacted {
  readonly events: readonly { readonly version: number; readonly data: object; readonly metadata: object | null }[];
  readonly records: readonly { readonly version: number }[];
}

async function readRedacted(sql: Sql): Promise<Redacted> {
  const events = await sql<Redacted["events"][number][]>`
    select stream_id, aggregate_version as version, event_data as data, metadata
    from event_store.domain_event order by stream_id, aggregate_version`;
  const records = await sql<Redacted["records"][number][]>`
    select stream_id, aggregate_version as version, redacted_at::text, redacted_by, reason
    from event_store.redaction order by 1, 2, 3`;
  return { events: [...events], records: [...records] };
}
