import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import { readAdministrator } from "../../scripts/lib/postgres/logins/roles.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import { schemaDir } from "../../scripts/lib/schema/source.ts";
import { ensureDatabase } from "../../scripts/lib/stack/database.ts";
import { withDatabase, withTransaction } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";
import {
  apply,
  type Files,
  failure,
  readLedger,
  type SchemaFolder,
  tablesOf,
  withFiles,
} from "../support/schema-folder.ts";

const ordinary: Files = {
  "migrations/0001-first.sql": "create table public.first (id int);\n",
  "migrations/0002-second.sql": "alter table public.first add column name text;\n",
  "routines/functions/public.answer.sql":
    "create or replace function public.answer() returns int language sql as 'select 42';\n",
  "routines/triggers/public.b.sql": "comment on table public.first is 'by a trigger file';\n",
  "routines/views/public.a.sql":
    "create or replace view public.a as select id, name, public.answer() from public.first;\n",
};

test("applySchema() applies the files in order, and nothing in a second run", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  const names = Object.keys(ordinary);
  assert.deepEqual(await apply(database.administrator, folder), {
    applied: names,
    total: names.length,
    isDryRun: false,
    untried: [],
  });
  assert.deepEqual(await apply(database.administrator, folder), {
    applied: [],
    total: names.length,
    isDryRun: false,
    untried: [],
  });
  const rows = await database.admin`select name from public.schema_migration order by applied_at`;
  assert.deepEqual(
    rows.map((row) => row["name"]),
    names,
  );
});

test("applySchema() creates everything as cqrs_owner, the only role that can write the ledger", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  await apply(database.administrator, folder);
  const owners = await database.admin`
    select distinct relowner::regrole::text as owner from pg_class
    where relnamespace = 'public'::regnamespace and relname in ('first', 'a', 'schema_migration')`;
  assert.deepEqual(
    owners.map((row) => row["owner"]),
    ["cqrs_owner"],
  );
  const [row] = await database.admin`select relacl::text as acl from pg_class where relname = 'schema_migration'`;
  assert.equal(row?.["acl"], "{cqrs_owner=arwdDxt/cqrs_owner}");
});

test("the ledger contains the sha-256 of the text with LF line ends, so CRLF changes nothing", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  await apply(database.administrator, folder);
  for (const row of await database.admin`select name, checksum, applied_by, duration_ms from public.schema_migration`) {
    const text = ordinary[row["name"]] ?? "";
    assert.equal(row["checksum"], createHash("sha256").update(text).digest("hex"));
    assert.equal(row["applied_by"], database.administrator.user);
    assert.ok(row["duration_ms"] >= 0);
  }
  await folder.write(
    Object.fromEntries(Object.entries(ordinary).map(([name, text]) => [name, text.replaceAll("\n", "\r\n")])),
  );
  assert.deepEqual((await apply(database.administrator, folder)).applied, []);
});

test("applySchema() accepts a file of comments, an empty file, and a file without a line end", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-comments.sql": "-- nothing yet\n/* nothing */\n",
    "migrations/0002-empty.sql": "",
    "migrations/0003-short.sql": "select 1",
  });
  assert.equal((await apply(database.administrator, folder)).applied.length, 3);
});

test("applySchema() rolls back a file that fails, and keeps the files before it", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    ...ordinary,
    "migrations/0002-second.sql": "create table public.half (id int);\ninsert into public.half values (1 / 0);\n",
  });
  const error = await failure(apply(database.administrator, folder));
  assert.deepEqual([error.code, error.exitCode], ["MIGRATION_FAILED", 1]);
  assert.equal(error.message, `${join(folder.dir, "migrations/0002-second.sql")}:2:1: division by zero`);
  assert.match(error.why ?? "", /^division by zero \(22012\)/);
  assert.match(error.fix ?? "", /This file was rolled back; those before it stay applied/);
  assert.deepEqual(await readLedger(database.admin), ["migrations/0001-first.sql"]);
  assert.deepEqual(await tablesOf(database.admin), ["first", "schema_migration"]);

  await folder.write({ "migrations/0002-second.sql": ordinary["migrations/0002-second.sql"] ?? "" });
  assert.deepEqual((await apply(database.administrator, folder)).applied, Object.keys(ordinary).slice(1));
});

test("applySchema() rolls back a file whose row cannot be written to the ledger", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-first.sql":
      "alter table public.schema_migration add constraint only_one check (name <> 'migrations/0002-second.sql');",
    "migrations/0002-second.sql": "create table public.second (id int);",
  });
  await assert.rejects(apply(database.administrator, folder), { code: "MIGRATION_FAILED", why: /"only_one"/ });
  assert.deepEqual(await readLedger(database.admin), ["migrations/0001-first.sql"]);
  assert.deepEqual(await tablesOf(database.admin), ["schema_migration"]);
});

test("applySchema() reports line and column of a mistake, even after placeholders and emoji", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const mistakes: readonly (readonly [string, string])[] = [
    ["select 1;\nselect 2;\nselect nowhere;", "3:8"],
    ["select 1;\nselect 2;\nselect 'größe 🛒🛒', nowhere;", "3:20"],
    ["select '🛒';\n-- :{app} :{owner}\ncomment on database :{database} is 'x'; select 'ü🛒', nowhere;", "3:54"],
    ["select 1;\nselect 2;\n  select '🛒' as :{database}, 1 as :{app}, nowhere;", "3:43"],
    ["select 1;\nselect 2;\nselect :{database};", "3:8"],
    ["select 1;\nselect 2;\nselect 1 + ;", "3:12"],
    ["select 1;\r\nselect 2;\r\nselect nowhere;\r\n", "3:8"],
  ];
  for (const [text, place] of mistakes) {
    await using folder = await withFiles({ "migrations/0001-first.sql": text });
    const error = await failure(apply(database.administrator, folder));
    assert.equal(error.code, "MIGRATION_FAILED");
    const file = join(folder.dir, "migrations/0001-first.sql");
    assert.ok(error.message.startsWith(`${file}:${place}: `), `${error.message} is not at ${place} of\n${text}`);
  }
});

test("applySchema() passes on message, detail and hint of an error that a file raises", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const raise =
    "raise exception using message = 'no good', detail = 'the detail', hint = 'the hint', errcode = 'UE999'";
  await using folder = await withFiles({ "migrations/0001-first.sql": `do $$ begin ${raise}; end $$;` });
  const error = await failure(apply(database.administrator, folder));
  assert.match(error.message, /0001-first\.sql:1:1: no good$/);
  assert.match(error.why ?? "", /^no good \(UE999\)\nthe detail\nthe hint\nPL\/pgSQL function/);
});

test("applySchema() works again after a file of garbage, and leaves no lock", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({ "migrations/0001-first.sql": "this is 'not SQL $$ (;\n\\;" });
  const error = await failure(apply(database.administrator, folder));
  assert.equal(error.code, "MIGRATION_FAILED");
  await folder.write({ "migrations/0001-first.sql": ordinary["migrations/0001-first.sql"] ?? "" });
  assert.equal((await apply(database.administrator, folder)).applied.length, 1);
  const [row] = await database.admin`select count(*)::int as count from pg_locks where locktype = 'advisory'
    and database = (select oid from pg_database where datname = current_database())`;
  assert.equal(row?.["count"], 0);
});

const drifts: readonly (readonly [string, (folder: SchemaFolder) => Promise<void>, RegExp])[] = [
  [
    "a migration that was edited",
    (folder) => folder.write({ "migrations/0001-first.sql": "create table public.other (id int);\n" }),
    /^migrations\/0001-first\.sql was edited after it was applied$/,
  ],
  [
    "a migration that is missing",
    (folder) => folder.remove("migrations/0002-second.sql"),
    /^migrations\/0002-second\.sql was applied to this database, but the file is missing$/,
  ],
  [
    "a migration before the last that was applied",
    (folder) => folder.write({ "migrations/0000-late.sql": "create table public.late (id int);\n" }),
    /^migrations\/0000-late\.sql comes before migrations\/0002-second\.sql, which is already applied$/,
  ],
];

for (const [what, change, says] of drifts) {
  test(`applySchema() refuses ${what} with exit code 4 and applies nothing`, async () => {
    await using database = await withDatabase({ isEmpty: true });
    await using folder = await withFiles(ordinary);
    await apply(database.administrator, folder);
    const before = [await readLedger(database.admin), await tablesOf(database.admin)];
    await change(folder);
    await folder.write({ "migrations/0009-next.sql": "create table public.next (id int);\n" });
    const error = await failure(apply(database.administrator, folder));
    assert.deepEqual([error.code, error.exitCode], ["SCHEMA_DRIFT", 4]);
    assert.match(error.message, says);
    assert.deepEqual([await readLedger(database.admin), await tablesOf(database.admin)], before);
  });
}

test("applySchema() applies only a changed routine again, without a notice", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles(ordinary);
  await apply(database.administrator, folder);
  const name = "routines/functions/public.answer.sql";
  await folder.write({ [name]: (ordinary[name] ?? "").replace("42", "43") });
  const notices: string[] = [];
  const { applied } = await apply(database.administrator, folder, { onNotice: (text) => notices.push(text) });
  assert.deepEqual([applied, notices], [[name], []]);
  const [row] = await database.admin`select public.answer() as answer`;
  assert.equal(row?.["answer"], 43);
  assert.equal((await readLedger(database.admin)).length, Object.keys(ordinary).length);
});

const badNames: readonly (readonly [what: string, name: string])[] = [
  ["no number", "migrations/first.sql"],
  ["three digits", "migrations/001-first.sql"],
  ["an underscore", "migrations/0001_first.sql"],
  ["capitals", "migrations/0003-First.sql"],
  ["a folder", "migrations/more/0003-third.sql"],
];

for (const [what, name] of badNames) {
  test(`applySchema() refuses the name of a migration with ${what}, before it applies anything`, async () => {
    await using database = await withDatabase({ isEmpty: true });
    await using folder = await withFiles({ ...ordinary, [name]: "select 1;\n" });
    const error = await failure(apply(database.administrator, folder));
    assert.deepEqual([error.code, error.exitCode], ["MIGRATION_NAME", 2]);
    assert.equal(error.message, `${name} is not a valid name for a migration`);
    assert.match(error.why ?? "", /four digits/);
    assert.equal(error.fix, "Rename it, for example to 0003-add-invoices.sql.");
    assert.deepEqual(await tablesOf(database.admin), []);
  });
}

test("applySchema() refuses two migrations with one number, names both and suggests the next number", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({ ...ordinary, "migrations/0001-again.sql": "select 1;\n" });
  const error = await failure(apply(database.administrator, folder));
  assert.deepEqual([error.code, error.exitCode], ["MIGRATION_NAME", 2]);
  assert.equal(error.message, "migrations/0001-again.sql and migrations/0001-first.sql have the same number");
  assert.equal(error.fix, "Give the one that is not applied yet another number, for example 0003.");
  assert.deepEqual(await tablesOf(database.admin), []);
});

test("placeholders are quoted, even if the name of the database has quotes, dots and spaces", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const name = `te"st.da ta'b äß🛒 ${randomUUID().slice(0, 8)}`;
  await ensureDatabase(database.admin, await readAdministrator(database.admin), name);
  try {
    await using folder = await withFiles({
      "migrations/0001-first.sql":
        "comment on database :{database} is 'found';\ngrant create on schema public to :{app}, :{owner};\n",
    });
    await apply({ ...database.administrator, database: name }, folder);
    const [row] = await database.admin`
      select shobj_description(oid, 'pg_database') as comment from pg_database where datname = ${name}`;
    assert.equal(row?.["comment"], "found");
  } finally {
    await database.admin.unsafe(`drop database ${quoteIdentifier(name)} with (force)`);
  }
});

test("applySchema() refuses an unknown placeholder, with its position", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({ "migrations/0001-first.sql": "select 1;\nselect '🛒', :{user};\n" });
  const error = await failure(apply(database.administrator, folder));
  assert.deepEqual([error.code, error.exitCode], ["PLACEHOLDER", 2]);
  const file = join(folder.dir, "migrations/0001-first.sql");
  assert.equal(error.message, `${file}:2:13: unknown placeholder :{user}`);
  assert.deepEqual(await tablesOf(database.admin), []);
});

test("applySchema() works without uuid-ossp, and passes on the notice about it", async () => {
  await using database = await withDatabase({ isEmpty: true });
  // For the sessions of this database the server has no such extension: its list of extensions omits it.
  await database.admin.begin(async (tx) => {
    await tx`set local allow_system_table_mods = on`;
    await tx`
      create or replace view pg_catalog.pg_available_extensions as
      select e.name, e.default_version, x.extversion as installed_version, e.comment
      from pg_catalog.pg_available_extensions() as e (name, default_version, comment)
      left join pg_catalog.pg_extension as x on e.name = x.extname
      where e.name <> 'uuid-ossp'`;
  });
  const notices: string[] = [];
  const { applied, total } = await apply(
    database.administrator,
    { dir: schemaDir },
    { onNotice: (text) => notices.push(text) },
  );
  assert.equal(applied.length, total);
  assert.deepEqual(notices, ["NOTICE: the extension uuid-ossp is not available on this server, skipping"]);
  const extensions = await database.admin`select extname from pg_extension order by extname`;
  assert.deepEqual(
    extensions.map((row) => row["extname"]),
    ["pgcrypto", "plpgsql"],
  );
});

test("the product's own files apply without a notice", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const notices: string[] = [];
  await apply(database.administrator, { dir: schemaDir }, { onNotice: (text) => notices.push(text) });
  assert.deepEqual(notices, []);
  const extensions = await database.admin`select extname from pg_extension order by extname`;
  assert.deepEqual(
    extensions.map((row) => row["extname"]),
    ["pgcrypto", "plpgsql", "uuid-ossp"],
  );
});

test("schema status lists applied and pending files; with --exit-code it exits with 10 if any is pending", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const { stackDir } = database;
  const words = ["schema", "status", "--database", database.name];
  const before = await runForData<{ applied: unknown[]; pending: string[] }>(words, { stackDir });
  assert.deepEqual(before.applied, []);
  assert.equal(before.pending[0], "migrations/0001-schemas.sql");
  assert.equal((await runScript(words, { stackDir })).exitCode, 0);
  const pending = await runScript([...words, "--exit-code"], { stackDir });
  assert.equal(pending.exitCode, 10);
  assert.match(pending.stdout, /^migrations\/0001-schemas\.sql +pending$/m);

  await runForData(["schema", "apply", "--database", database.name], { stackDir });
  const done = await runScript([...words, "--exit-code"], { stackDir });
  assert.equal(done.exitCode, 0);
  assert.match(done.stdout, /^migrations\/0001-schemas\.sql +applied$/m);
  assert.doesNotMatch(done.stdout, /pending/);
});

test("applySchema() applies an optional part on request, and refuses a later edit of it", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-things.sql": "create table public.thing (id integer);",
    "optional/thing-index.sql": "create index thing_idx on public.thing (id);",
  });
  const indexExists = async () =>
    (await database.admin`select to_regclass('public.thing_idx') is not null as exists`)[0]?.["exists"];
  assert.deepEqual((await apply(database.administrator, folder)).applied, ["migrations/0001-things.sql"]);
  assert.equal(await indexExists(), false);
  await assert.rejects(apply(database.administrator, folder, { optional: ["no-such"] }), {
    code: "UNKNOWN_OPTION",
    exitCode: 2,
  });
  const wanted = await apply(database.administrator, folder, { optional: ["thing-index"] });
  assert.deepEqual([wanted.applied, wanted.total], [["optional/thing-index.sql"], 2]);
  assert.equal(await indexExists(), true);
  assert.deepEqual((await apply(database.administrator, folder)).applied, []);
  await folder.write({ "optional/thing-index.sql": "create index thing_idx on public.thing (id desc);" });
  await assert.rejects(apply(database.administrator, folder), { code: "SCHEMA_DRIFT", exitCode: 4 });
});

test("the optional index on the data of events serves conditions on it", async () => {
  await using database = await withDatabase();
  const { applied } = await apply(database.administrator, { dir: schemaDir }, { optional: ["event-data-index"] });
  assert.deepEqual(applied, ["optional/event-data-index.sql"]);
  await withTransaction(database.admin, async (tx) => {
    await tx`set local enable_seqscan = off`;
    const plan = await tx`explain select from event_store.domain_event where event_data @> '{"customer":"Ada"}'`;
    assert.match(plan.map((row) => row["QUERY PLAN"]).join("\n"), /Index Scan on domain_event_event_data_idx/);
  });
});
