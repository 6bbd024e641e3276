import assert from "node:assert/strict";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { repairAll } from "../../scripts/lib/doctor/repair.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { append } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { type DiagnosedPlace, diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import { applyProject, failure, type SchemaFolder, withFiles } from "../support/schema-folder.ts";
import { silentRun, testConfig } from "../support/stack.ts";

/** Only these areas differ in a database of a shared server. */
const areas = { areas: ["schema", "log", "projections"] };

const notes = "create table command_model.note (id int);\n";

let database: TestDatabase;
let folder: SchemaFolder;
let place: DiagnosedPlace;
before(async () => {
  database = await withDatabase();
  folder = await withFiles({ "migrations/0001-notes.sql": notes });
  place = { stackDir: database.stackDir, name: database.name, env: { CQRS_SQL_DIR: folder.dir } };
  await applyProject(database, folder);
});
after(async () => {
  await folder[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

test("a new file and a changed routine of the product are found as pending, and --fix applies them", async () => {
  await isHealthy(place, areas);
  await folder.write({ "migrations/0002-more.sql": "alter table command_model.note add text text;\n" });
  const name = "routines/functions/event_store.begin_epoch.sql";
  await database.admin`update public.schema_migration set checksum = repeat('0', 64) where name = ${name}`;
  await finds(
    "migrations-pending",
    { evidence: /^.*begin_epoch\.sql\napp\/migrations\/0002-more\.sql$/, fix: /schema apply/ },
    place,
  );
  await repair(place, areas);
  await isHealthy(place, areas);
});

const conflicts: readonly (readonly [
  what: string,
  id: string,
  change: () => Promise<unknown>,
  evidence: RegExp,
  fix: RegExp,
  undo: () => Promise<unknown>,
])[] = [
  [
    "a file that was edited",
    "migration-edited",
    () => folder.write({ "migrations/0001-notes.sql": `${notes}-- edited\n` }),
    /^app\/migrations\/0001-notes\.sql was edited/,
    /git checkout/,
    () => folder.write({ "migrations/0001-notes.sql": notes }),
  ],
  [
    "a file that was renamed",
    "migration-renamed",
    () => rename(fileOf("0001-notes"), fileOf("0001-note")),
    /was renamed to migrations\/0001-note\.sql/,
    /Give it its earlier name/,
    () => rename(fileOf("0001-note"), fileOf("0001-notes")),
  ],
  [
    "a file that was deleted",
    "migration-unknown",
    () => rename(fileOf("0001-notes"), join(folder.dir, "aside")),
    /0001-notes\.sql was applied to this database, but the file is missing/,
    /Get the newer files, or restore this one/,
    () => rename(join(folder.dir, "aside"), fileOf("0001-notes")),
  ],
  [
    "a newer file of the product",
    "migration-unknown",
    () => database.admin`
      insert into public.schema_migration (name, checksum, applied_by, duration_ms)
      values ('migrations/0999-future.sql', repeat('0', 64), 'test', 1)`,
    /^migrations\/0999-future\.sql was applied/,
    /Use the newer version of cqrs-postgres/,
    () => database.admin`delete from public.schema_migration where name = 'migrations/0999-future.sql'`,
  ],
  [
    "a file with an earlier number",
    "migration-out-of-order",
    () => folder.write({ "migrations/0000-early.sql": "select 1;\n" }),
    /0000-early\.sql comes before migrations\/0002-more\.sql/,
    /Give it a number after the last one, such as 0003/,
    () => rm(fileOf("0000-early")),
  ],
  [
    "a number that is used twice",
    "migration-unusable",
    () => folder.write({ "migrations/0002-again.sql": "select 1;\n" }),
    /number/,
    /./,
    () => rm(fileOf("0002-again")),
  ],
];

function fileOf(name: string): string {
  return join(folder.dir, `migrations/${name}.sql`);
}

for (const [what, id, change, evidence, fix, undo] of conflicts) {
  test(`${what} is found, and undoing that fixes it`, async () => {
    await change();
    await finds(id, { evidence, fix }, place, areas);
    await undo();
    await isHealthy(place, areas);
  });
}

test("a file without a transaction that stopped half way is found, and --fix completes it", async () => {
  await folder.write({
    "migrations/0003-index.sql":
      "-- no-transaction\ncreate index concurrently note_id on command_model.note (id);\nselect 1 / count(*) from command_model.note;\n",
  });
  assert.equal((await failure(applyProject(database, folder))).code, "MIGRATION_FAILED");
  await finds(
    "migration-unfinished",
    { evidence: /^app\/migrations\/0003-index\.sql is half applied/, fix: /schema apply/ },
    place,
  );
  await database.admin`insert into command_model.note values (1), (1)`;
  await repair(place, areas);
  await isHealthy(place, areas);
});

test("an index that could not be unique is found, and rebuilding it once the duplicates are gone fixes it", async () => {
  const statement = "create unique index concurrently note_once on command_model.note (id)";
  await assert.rejects(database.admin.unsafe(statement), /could not create unique index/);
  const fix =
    /^Delete the rows that are duplicates .*, then run reindex index concurrently command_model\.note_once\.$/;
  const evidence = /^command_model\.note_once on command_model\.note$/;
  const found = await finds("index-invalid", { evidence, fix }, place, areas);
  // It would fail, and leave a second index.
  assert.equal(found.repair, undefined);
  await database.admin`delete from command_model.note where ctid <> (select min(ctid) from command_model.note)`;
  await database.admin.unsafe("reindex index concurrently command_model.note_once");
  await isHealthy(place, areas);
});

test("a rebuild of an index that fails leaves no second one", async () => {
  const define = (body: string) =>
    database.admin.unsafe(
      `create or replace function command_model.picky(id int) returns int immutable language plpgsql as $$${body}$$`,
    );
  await define("begin return id; end");
  await database.admin`create index note_picky on command_model.note (command_model.picky(id))`;
  await database.admin`
    update pg_index set indisvalid = false where indexrelid = 'command_model.note_picky'::regclass`;
  await define("begin raise 'not now'; end");
  const repairs = await repairAll(await diagnosePlace(place, areas), silentRun, { confirm: async () => {} });
  assert.match(repairs[0]?.error ?? "", /not now/);
  assert.deepEqual(await invalidIndexes(), ["note_picky"]);
  await define("begin return id; end");
  await repair(place, areas);
  await isHealthy(place, areas);
  await database.admin`drop index command_model.note_picky`;
});

async function invalidIndexes(): Promise<readonly string[]> {
  const rows = await database.admin<{ name: string }[]>`
    select relname as name from pg_index join pg_class on pg_class.oid = indexrelid where not indisvalid`;
  return rows.map(({ name }) => name);
}

for (const [what, isolation, statement] of [
  ["that wrote to its table", "read committed", "insert into command_model.note values (9)"],
  ["with a snapshot", "repeatable read", "select from event_store.domain_event limit 1"],
  ["that read its table", "read committed", "select from command_model.note"],
] as const) {
  test(`--fix does not rebuild an index while a transaction ${what} is open, and leaves no other one`, async () => {
    await database.admin`create index note_slow on command_model.note (id)`;
    await database.admin`
      update pg_index set indisvalid = false where indexrelid = 'command_model.note_slow'::regclass`;
    const impatient = {
      ...place,
      load: () => testConfig(database.stackDir, { database: database.name, timeout: "300ms" }, place.env),
    };
    await inTransaction(database.sql, async (tx) => {
      await tx.unsafe(`set transaction isolation level ${isolation}`);
      await tx.unsafe(statement);
      const diagnosis = await diagnosePlace(impatient, areas);
      const repairs = await repairAll(diagnosis, silentRun, { confirm: async () => {} });
      assert.match(
        repairs[0]?.error ?? "",
        /was left as it is, because the transaction of session \d+ .* is still open/,
      );
      assert.deepEqual(await invalidIndexes(), ["note_slow"]);
    });
    await repair(place, areas);
    await isHealthy(place, areas);
    await database.admin`drop index command_model.note_slow`;
  });
}

for (const [id, statement, fix] of [
  [2, "create index concurrently note_text on command_model.note (text)", /reindex index concurrently/],
  [3, "reindex index concurrently command_model.note_id", /drop index concurrently command_model\.note_id_ccnew/],
] as const) {
  test(`what a cancelled ${statement.slice(0, 26)} leaves is found, but not while it is running`, async () => {
    await inTransaction(database.sql, async (tx) => {
      await tx`insert into command_model.note values (${id})`;
      const building = database.admin.unsafe(statement).execute();
      const pid = await awaitBuilding();
      await isHealthy(place, areas);
      await database.admin`select pg_cancel_backend(${pid})`;
      await assert.rejects(building, /canceling statement/);
    });
    await finds("index-invalid", { evidence: /note_(text|id_ccnew) on/, fix }, place, areas);
    await repair(place, areas);
    await isHealthy(place, areas);
  });
}

async function awaitBuilding(): Promise<number> {
  const read = async () => {
    const [row] = await database.admin<{ pid: number }[]>`
      select pid from pg_stat_progress_create_index where phase like 'waiting%'`;
    return row?.pid;
  };
  return (await pollUntil(read, { timeoutMs: 20_000, intervalMs: 5 })) ?? assert.fail("nothing is built");
}

test("a copy of a database is found until it begins an epoch of its own", async () => {
  await using maintenance = openConnection({ ...database.administrator, database: "postgres" });
  const copy = `${database.name}_copy`;
  await maintenance.sql.unsafe(`create database ${quoteIdentifier(copy)} template cqrs_db strategy file_copy`);
  try {
    const copied = { ...place, name: copy };
    await using admin = openConnection({ ...database.administrator, database: copy });
    await applyProject({ administrator: { ...database.administrator, database: copy } }, folder).catch(() => undefined);
    await finds("epoch-unreported", { evidence: /the database is \d+, but the log/, fix: /begin_epoch/ }, copied);
    await admin.sql`select event_store.begin_epoch('a copy')`;
    const { findings } = await diagnosePlace(copied, { areas: ["log", "projections"] });
    assert.deepEqual(findings, []);
    await admin[Symbol.asyncDispose]();
  } finally {
    await maintenance.sql.unsafe(`drop database ${quoteIdentifier(copy)} with (force)`);
  }
});

test("a sequence that was set back is found, and a new epoch fixes it", async () => {
  for (let count = 0; count < 3; count++) await append(database.sql, {});
  const [row] = await database.admin<{ last: string }[]>`
    select max(global_position)::text as last from event_store.domain_event`;
  await database.admin`select setval('event_store.domain_event_global_position', 1)`;
  const evidence = new RegExp(`last position drawn is 1, but an event has ${row?.last}\\.`);
  await finds("positions-rewound", { evidence, fix: /begin_epoch/ }, place, areas);
  await database.admin`select event_store.begin_epoch('the sequence was set back')`;
  await isHealthy(place, areas);
});

test("an empty database is found: everything is pending, and --fix creates it", async () => {
  await using empty = await withDatabase({ isEmpty: true });
  const bare = { stackDir: empty.stackDir, name: empty.name, env: { CQRS_SQL_DIR: join(folder.dir, "none") } };
  await finds("migrations-pending", { evidence: /^migrations\/0001-/, fix: /schema apply/ }, bare, areas);
  await repair(bare, areas);
  await isHealthy(bare, areas);
});
