// pg_stats shows values of a column to everyone who may read the table. Those of events must not outlive a redaction.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { applySchema } from "../../scripts/lib/schema/apply.ts";
import { readSchema, type SchemaFile, schemaDir } from "../../scripts/lib/schema/source.ts";
import { withArchives } from "../support/archive.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { readFingerprint } from "../support/fingerprint.ts";

const columns = [
  "event_store.domain_event.event_data",
  "event_store.domain_event.metadata",
  "event_store.snapshot.state",
  "read_model.dead_letter.error",
];

/** Writes a row for each of 50 people into each table, without the functions of a later schema. */
async function writeSecrets(owner: Sql): Promise<void> {
  await owner`
    insert into event_store.domain_event (event_id, stream_id, aggregate_version, event_type, event_data, metadata)
    select gen_random_uuid(), ${randomUUID()}, n, 'Registered', to_jsonb('SECRET' || n % 9), to_jsonb('SECRET' || n)
    from generate_series(1, 50) as n`;
  await owner`
    insert into event_store.snapshot (stream_id, aggregate_version, state_version, state)
    select gen_random_uuid(), 1, 1, to_jsonb('SECRET' || n) from generate_series(1, 50) as n`;
  await owner`
    insert into read_model.dead_letter
      (name, version, stream_id, aggregate_version, aggregate_type, aggregate_id, event_type, attempts, error)
    select 'mails', 1, gen_random_uuid(), 1, 'Person', gen_random_uuid(), 'Registered', 5, 'SECRET' || n
    from generate_series(1, 50) as n`;
}

/** @returns the columns of the log and of projections whose statistics show a secret, or any value of these columns */
async function readShown(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select concat_ws('.', schemaname, tablename, attname) as name from pg_stats
    where schemaname in ('event_store', 'read_model')
      and (concat(most_common_vals::text, histogram_bounds::text) like '%SECRET%'
        or concat_ws('.', schemaname, tablename, attname) = any (${`{${columns}}`}::text::text[]))
    order by 1`;
  return rows.map(({ name }) => name);
}

function asOwner(database: TestDatabase) {
  return openConnection(database.administrator, { role: groupRoles.owner });
}

test("the statistics of an analyzed database show no values of events, snapshots and errors", async () => {
  await using database = await withDatabase();
  await using owner = asOwner(database);
  await writeSecrets(owner.sql);
  await owner.sql`analyze`;
  assert.deepEqual(await readShown(database.sql), []);
  assert.deepEqual(await readShown(database.admin), []);
  const [row] = await database.admin`select from pg_stats where tablename = 'domain_event' and attname = 'event_type'`;
  assert.notEqual(row, undefined, "other columns have statistics");
});

const [earlier, migration, later] = await (async () => {
  const files = await readSchema();
  const numberOf = ({ name }: SchemaFile) => Number(/^migrations\/(\d+)/.exec(name)?.[1] ?? Number.POSITIVE_INFINITY);
  const readers = ["stream_id_of", "read_stream", "load_snapshot"];
  const isReader = ({ name }: SchemaFile) => readers.some((reader) => name.endsWith(`event_store.${reader}.sql`));
  // The tables have no keys of aggregates yet.
  const key = /\(\s*select stream\.aggregate_key[^;]*?\n {6}\)/g;
  const before = files.map((file) => (isReader(file) ? { ...file, text: file.text.replace(key, "null::text") } : file));
  return [
    before.filter((file) => numberOf(file) < 7 || isReader(file)),
    before.filter((file) => numberOf(file) <= 7 || isReader(file)),
    files,
  ];
})();

/** @returns warnings */
async function apply(database: TestDatabase, files: readonly SchemaFile[], optional: string[] = []): Promise<string[]> {
  const warnings: string[] = [];
  await applySchema(database.administrator, {
    files: [...files],
    optional,
    timeoutMs: 30_000,
    signal: new AbortController().signal,
    onWait: () => {},
    onNotice: (text) => void (text.startsWith("WARNING") && warnings.push(text)),
  });
  return warnings;
}

/** @returns the files on disk of tables and indexes */
async function readFiles(sql: Sql): Promise<number[]> {
  const rows = await sql<{ file: number }[]>`
    select pg_relation_filenode(oid) as file from pg_class
    where relnamespace = 'event_store'::regnamespace and relkind in ('r', 'i') order by 1`;
  return rows.map(({ file }) => file);
}

test("the migration removes statistics collected before, rewrites no table or index and keeps the functions", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using owner = asOwner(database);
  const optional = ["event-data-index"];
  const index = later.filter(({ name }) => name === "optional/event-data-index.sql");
  await apply(database, [...earlier, ...index], optional);
  await writeSecrets(owner.sql);
  await owner.sql`analyze`;
  assert.deepEqual(await readShown(database.sql), columns);
  const files = await readFiles(owner.sql);
  assert.deepEqual(await apply(database, [...migration, ...index], optional), []);
  assert.deepEqual(await readShown(database.sql), []);
  assert.deepEqual(await readFiles(owner.sql), files);
  await owner.sql`analyze`;
  assert.deepEqual(await readShown(database.sql), []);
  const upgraded = await inTransaction(owner.sql, readFingerprint);
  await using other = await withDatabase({ isEmpty: true });
  await apply(other, [...migration, ...index], optional);
  await using fresh = asOwner(other);
  assert.deepEqual(upgraded, await inTransaction(fresh.sql, readFingerprint));
});

test("the migration deletes snapshots and errors that may hold erased data, and no others", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using owner = asOwner(database);
  await apply(database, earlier);
  const [redacted, untouched] = [randomUUID(), randomUUID()];
  await owner.sql`insert into event_store.redaction (stream_id, aggregate_version, reason) values (${redacted}, 2, 'why')`;
  for (const stream of [redacted, untouched]) {
    await owner.sql`
      insert into event_store.snapshot (stream_id, aggregate_version, state_version, state)
      values (${stream}, 1, 1, '{}'), (${stream}, 2, 2, '{}'), (${stream}, 3, 3, '{}')`;
    await owner.sql`
      insert into read_model.dead_letter
        (name, version, stream_id, aggregate_version, aggregate_type, aggregate_id, event_type, attempts, error)
      select 'mails', 1, ${stream}, n, 'Person', gen_random_uuid(), 'Registered', 5, 'SECRET'
      from generate_series(1, 3) as n`;
  }
  await apply(database, migration);
  const snapshots = await owner.sql`
    select stream_id, state_version from event_store.snapshot order by stream_id = ${untouched}, 2`;
  assert.deepEqual(
    snapshots.map((row) => [row["stream_id"] === redacted, row["state_version"]]),
    [[true, 1], ...[1, 2, 3].map((version) => [false, version])],
  );
  const errors = await owner.sql`
    select stream_id, aggregate_version from read_model.dead_letter
    where error is not null order by stream_id = ${untouched}, 2`;
  assert.deepEqual(
    errors.map((row) => [row["stream_id"] === redacted, row["aggregate_version"]]),
    [[true, 1], ...[1, 2, 3].map((version) => [false, version])],
  );
});

test("if a view reads the column, the migration says that statistics remain, and verify finds them", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using owner = asOwner(database);
  await apply(database, earlier);
  await database.sql`create view read_model.raw as select event_data from event_store.domain_event`;
  await writeSecrets(owner.sql);
  await owner.sql`analyze`;
  const [warning = "", ...others] = await apply(database, migration);
  assert.match(warning, /^WARNING: +statistics of events remain, which may hold erased data: cannot alter type/);
  assert.deepEqual(others, []);
  assert.deepEqual(await readRemains(owner.sql), columns);
  await database.admin.unsafe(`
    delete from pg_statistic where (starelid, staattnum) in (
      select attrelid, attnum from pg_attribute
      where attrelid = 'event_store.domain_event'::regclass and attname = 'event_data'
    )`);
  assert.deepEqual(await readRemains(owner.sql), columns.slice(1));
});

/** Runs the query alone, since the other invariants need the routines of the whole schema. */
async function readRemains(owner: Sql): Promise<string[]> {
  const query = await readFile(join(schemaDir, "verify/event_store.redaction_leaves_nothing.sql"), "utf8");
  const rows = await owner.unsafe<{ detail: string }[]>(query);
  return rows.map(({ detail }) => detail).toSorted();
}

test("a restored database collects no such statistics either, and verify finds a target that was reset", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  await archives.restore();
  await using owner = asOwner(archives.database);
  await writeSecrets(owner.sql);
  await owner.sql`analyze`;
  assert.deepEqual(await readShown(archives.database.sql), []);
  assert.deepEqual(await readRemains(owner.sql), []);
  await owner.sql`alter table event_store.domain_event alter column metadata set statistics -1`;
  assert.deepEqual(await readRemains(owner.sql), ["event_store.domain_event.metadata"]);
});
