// What a restore cannot do, what an archive cannot contain, and how both are reported.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { listBackups } from "../../scripts/lib/backup/list.ts";
import { pruneArchives } from "../../scripts/lib/backup/prune.ts";
import { verifyBackup } from "../../scripts/lib/backup/verify.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { searchPath } from "../../scripts/lib/stack/database.ts";
import { append } from "../support/append.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { readContent } from "../support/oracle.ts";
import { failure } from "../support/schema-folder.ts";
import { silentRun } from "../support/stack.ts";

test("a materialized view that cannot be refreshed stays empty and is named; everything else is restored", async () => {
  await using archives = await withArchives();
  const { admin } = archives.database;
  await admin
    .unsafe(`
    create table command_model.t (n integer primary key);
    create materialized view read_model.share as select 100 / n as share from command_model.t;
    create materialized view read_model.twice as select n / n as n from command_model.t;
    create unique index twice_n_idx on read_model.twice (n);
    create materialized view read_model.fine as select count(*) from command_model.t;
    insert into command_model.t values (5), (7);
    refresh materialized view read_model.fine;
    insert into command_model.t values (0)`)
    .simple();
  await archives.backUp();
  const { notRefreshed } = await archives.restore();
  assert.deepEqual(notRefreshed, ["read_model.share", "read_model.twice"]);
  const [row] = await admin`select (select count from read_model.fine)::int as fine, count(*)::int as rows
    from command_model.t`;
  assert.deepEqual({ ...row }, { fine: 3, rows: 3 });
  await admin`delete from command_model.t where n = 0 or n = 7`;
  await admin`refresh materialized view read_model.twice`;
});

test("rows that PostgreSQL refuses make verify --restore and restore fail, with the table, and nothing is changed", async () => {
  await using archives = await withArchives();
  const { admin } = archives.database;
  await admin
    .unsafe(`
    create function public.limit_of() returns integer language sql immutable as 'select 100';
    create table command_model.t (n integer constraint small check (n < public.limit_of()));
    insert into command_model.t values (99);
    create or replace function public.limit_of() returns integer language sql immutable as 'select 50'`)
    .simple();
  const before = await readContent(admin);
  const { archive } = await archives.backUp();
  const verify = () =>
    verifyBackup(archives.stack, { archive, from: archives.folder, keyFile: undefined, depth: "restored" }, silentRun);
  for (const attempt of [verify, () => archives.restore({ archive })]) {
    const error = await failure(attempt());
    assert.deepEqual([error.code, error.exitCode], ["RESTORE_FAILED", 11]);
    assert.equal(error.message, "PostgreSQL cannot restore rows of command_model.t");
    assert.match(error.why ?? "", /violates check constraint "small" \(23514\)/);
  }
  assert.deepEqual(await readContent(admin), before);
});

test("roles that the archive needs are checked first, with the statements that create them", async () => {
  await using archives = await withArchives();
  const { admin, name } = archives.database;
  const role = `Grafana ${name.slice(-8)}`;
  await admin.unsafe(`create role "${role}"; grant connect on database ${name} to "${role}"`).simple();
  await archives.backUp();
  await admin.unsafe(`drop owned by "${role}"; drop role "${role}"`).simple();
  const error = await failure(archives.restore({ dryRun: true }));
  assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_NEEDS", 8]);
  assert.equal(error.fix, `As a superuser, run: create role "${role}";`);
  await admin.unsafe(`create role "${role}"`);
  await archives.restore();
  const [row] = await admin`select has_database_privilege(${role}, ${name}, 'CONNECT') as can`;
  assert.equal(row?.["can"], true);
  await admin.unsafe(`drop owned by "${role}"; drop role "${role}"`).simple();
});

test("settings and privileges of the replaced database are kept, and --into gets those of the archive", async () => {
  await using archives = await withArchives();
  const { admin, name, administrator } = archives.database;
  await admin
    .unsafe(`
    alter database ${name} set statement_timeout = '7s';
    alter database ${name} set search_path = public;
    comment on database ${name} is 'old'`)
    .simple();
  await archives.backUp();
  // As bootstrap sets it: that is nobody's decision.
  await admin.unsafe(`alter database ${name} set search_path = ${searchPath}`);
  await admin
    .unsafe(`alter database ${name} set statement_timeout = '9s'; alter database ${name} set lock_timeout = '3s'`)
    .simple();
  await archives.restore();
  assert.deepEqual(await settingsOf(archives, name), {
    settings: ["lock_timeout=3s", "search_path=public", "statement_timeout=9s"],
    comment: "old",
  });
  const into = `${name}_copy`;
  try {
    await archives.restore({ into });
    assert.deepEqual(await settingsOf(archives, into), {
      settings: ["search_path=public", "statement_timeout=7s"],
      comment: "old",
    });
  } finally {
    await using maintenance = openConnection({ ...administrator, database: "postgres" });
    await maintenance.sql.unsafe(`drop database if exists ${into} with (force)`);
  }
});

test("a restored database has the locale of the archived one, or that of the server if the server lacks it", async () => {
  await using archives = await withArchives();
  const { admin, name } = archives.database;
  const { archive } = await archives.backUp();
  const readLocale = async () => {
    const [row] = await admin`select datlocprovider as provider, daticulocale as locale from pg_database
      where datname = ${name}`;
    return { ...row };
  };
  const usual = await readLocale();
  const { manifest } = JSON.parse(await readFile(join(archive, "manifest.json"), "utf8"));
  const { databaseFacts: facts } = manifest;
  const withLocale = (locale: string) => ({ ...facts, locale: { ...facts.locale, provider: "i", locale } });
  await rewriteManifest(archive, { databaseFacts: withLocale("de-u-co-phonebk") });
  await archives.restore();
  assert.deepEqual(await readLocale(), { provider: "i", locale: "de-u-co-phonebk" });
  await rewriteManifest(archive, { databaseFacts: withLocale("no-such_locale@x=") });
  await archives.restore();
  assert.deepEqual(await readLocale(), usual);
});

test("an extension that the server does not offer is named before anything happens", async () => {
  await using archives = await withArchives();
  const { archive } = await archives.backUp();
  const needs = { roles: ["cqrs_nobody"], extensions: [{ name: "timescaledb", version: "2" }] };
  await rewriteManifest(archive, { needs });
  const error = await failure(archives.restore({ dryRun: true }));
  assert.match(
    error.why ?? "",
    /^Missing roles, .*: cqrs_nobody\.\nExtensions that the server does not offer: timescaledb\.$/,
  );
  assert.match(error.fix ?? "", /^Install the extensions timescaledb on the server\.$/m);
});

test("a subscription is named as not included", async () => {
  await using archives = await withArchives();
  const { admin } = archives.database;
  await admin.unsafe("create subscription sub connection 'host=nowhere' publication p with (connect = false)");
  const { omitted } = await archives.backUp();
  await admin.unsafe("alter subscription sub set (slot_name = none); drop subscription sub").simple();
  assert.deepEqual(omitted, ["subscription sub"]);
});

test("a tablespace and is_template of the database are named as not included", async () => {
  await using archives = await withArchives();
  const { administrator, name } = archives.database;
  await using connection = openConnection(administrator);
  const { sql } = connection;
  await sql`set allow_in_place_tablespaces = on`;
  await sql`create tablespace cold location ''`;
  try {
    await sql`create table public.frozen (n integer) tablespace cold`;
    await sql.unsafe(`alter database ${name} is_template true`);
    const { omitted } = await archives.backUp();
    assert.deepEqual(omitted, ["is_template of the database", "tablespace of public.frozen"]);
  } finally {
    await sql.unsafe(`alter database ${name} is_template false`);
    await sql`drop table if exists public.frozen`;
    await sql`drop tablespace cold`;
  }
});

test("a backup succeeds although pg_dump queues behind a session that waits for the backup", async () => {
  await using archives = await withArchives();
  const { admin, administrator } = archives.database;
  await admin
    .unsafe("create table public.parent (n integer) partition by range (n); create table public.busy (n integer)")
    .simple();
  await using changing = openConnection(administrator);
  const { backup, changed } = await inTransaction(admin, async (tx) => {
    // pg_dump locks this table, the backup itself does not, as it has no rows.
    await tx`lock table public.parent in access exclusive mode`;
    const backup = archives.backUp();
    backup.catch(() => {});
    await waitForLock(archives, "public.parent");
    const changed = changing.sql`alter table public.busy add m integer`.execute();
    changed.catch(() => {});
    await waitForLock(archives, "public.busy");
    return { backup, changed };
  });
  const { archive, id } = await backup;
  await changed;
  assert.deepEqual(await readdir(archives.folder), [id], "what the first attempt wrote is removed");
  await verifyBackup(archives.stack, { archive, from: undefined, keyFile: undefined, depth: "deep" }, silentRun);
});

test("backup --only event_store contains the log alone, and restores to it", async () => {
  await using archives = await withArchives();
  const { admin, sql } = archives.database;
  await append(sql, {});
  await admin`create table command_model.other (n integer)`;
  await admin`insert into command_model.other values (1)`;
  const { archive } = await archives.backUp({ onlyEventStore: true });
  const { manifest } = JSON.parse(await readFile(join(archive, "manifest.json"), "utf8"));
  const schemas = new Set(manifest.tables.map(({ schema }: { schema: string }) => schema));
  assert.deepEqual(schemas, new Set(["event_store", "public"]));
  await archives.restore();
  const [row] = await admin`
    select (select count(*) from event_store.domain_event)::int as events,
      (select count(*) from command_model.other)::int as others`;
  assert.deepEqual({ ...row }, { events: 1, others: 0 });
});

test("a restore reports the rows of the database, not those of an incremental or a longer archive", async () => {
  await using archives = await withArchives();
  const { sql } = archives.database;
  for (let count = 0; count < 3; count++) await append(sql, {});
  const full = await archives.backUp();
  await append(sql, {});
  const increment = await archives.backUp({ incremental: true });
  const { rows } = await archives.restore({ archive: increment.archive });
  assert.equal(rows, full.rows + 2, "one event and its stream more");
  const cut = await archives.restore({ archive: full.archive, onlyEventStore: true, until: { position: 1n } });
  const [row] = await archives.database.admin`
    select (select count(*) from event_store.domain_event) + (select count(*) from event_store.event_stream)
      + (select count(*) from event_store.redaction) + (select count(*) from event_store.snapshot)
      + (select count(*) from public.schema_migration) + (select count(*) from event_store.log_epoch) - 1 as rows`;
  assert.equal(cut.rows, Number(row?.["rows"]));
});

test("an archive from a clock that was ahead is neither the latest nor kept for its age", async () => {
  await using archives = await withArchives();
  const ahead = await archives.backUp();
  const dated = new Date(Date.now() + 400 * 86_400_000);
  await rewriteManifest(ahead.archive, { startedAt: dated.toISOString(), order: dated.getTime() });
  await rename(ahead.archive, `${ahead.archive}-ahead`);
  const later = await archives.backUp();
  const latest = await archives.restore({ dryRun: true });
  assert.equal(latest.archive, later.archive);
  const { archives: listed } = await listBackups(archives.stack, archives.folder);
  assert.equal(listed.at(-1)?.id, later.id);
  const options = { from: archives.folder, keep: 1, keepDays: 1, dryRun: true, now: new Date() };
  assert.deepEqual((await pruneArchives(archives.stack, options)).removed, [ahead.id]);
});

test("an archive of format 1 is refused in one sentence", async () => {
  await using archives = await withArchives();
  const { archive } = await archives.backUp();
  await rewriteManifest(archive, { format: 1 });
  const error = await failure(archives.restore({ archive }));
  assert.deepEqual([error.code, error.exitCode], ["ARCHIVE_OLDER", 8]);
  assert.match(error.message, /has format 1, which was never released and which this version does not read$/);
});

async function settingsOf({ database }: ArchiveTest, name: string) {
  const [row] = await database.admin<{ settings: string[]; comment: string }[]>`
    select shobj_description(d.oid, 'pg_database') as comment,
      (
        select jsonb_agg(setting order by setting) from pg_db_role_setting, unnest(setconfig) as setting
        where setdatabase = d.oid and setrole = 0
      ) as settings
    from pg_database as d where datname = ${name}`;
  return { ...row };
}

async function waitForLock({ database }: ArchiveTest, table: string): Promise<void> {
  const isWaitedFor = async () => {
    const [row] = await database.admin`select from pg_locks where not granted and relation = ${table}::regclass`;
    return row === undefined ? undefined : true;
  };
  const found = await pollUntil(isWaitedFor, { timeoutMs: 60_000, intervalMs: 20, signal: silentRun.signal });
  assert.ok(found);
}

async function rewriteManifest(archive: string, changes: object): Promise<void> {
  const file = join(archive, "manifest.json");
  const { manifest } = JSON.parse(await readFile(file, "utf8"));
  const changed = { ...manifest, ...changes };
  const sha256 = createHash("sha256").update(JSON.stringify(changed)).digest("hex");
  await writeFile(file, `${JSON.stringify({ manifest: changed, sha256 })}\n`);
}
