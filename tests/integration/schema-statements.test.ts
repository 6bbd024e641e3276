import assert from "node:assert/strict";
import { test } from "node:test";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import { withDatabase } from "../support/database.ts";
import { apply, failure, tablesOf, withFiles } from "../support/schema-folder.ts";

test("applySchema() rolls back a file whose deferred constraint fails at the end", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-orphan.sql": `
      create table public.parent (id int constraint parent_pkey primary key);
      create table public.child (id int constraint child_fk references public.parent deferrable initially deferred);
      insert into public.child values (1);`,
  });
  await assert.rejects(apply(database.administrator, folder), { code: "MIGRATION_FAILED", why: /child_fk/ });
  assert.deepEqual(await tablesOf(database.admin), []);
});

test("settings that a file changes reach neither the ledger nor the next file", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-settings.sql":
      "create schema other; set search_path = other; set role cqrs_app; set lock_timeout = '1ms';",
    "migrations/0002-table.sql": "create table lands_in_public (id int);",
  });
  await apply(database.administrator, folder);
  const [row] = await database.admin`
    select tableowner::text as owner from pg_tables where schemaname = 'public' and tablename = 'lands_in_public'`;
  assert.equal(row?.["owner"], "cqrs_owner");
});

const refusedStatements: readonly (readonly [string, string])[] = [
  ["create table public.kept ();\ncommit;\nselect 1/0;", "2:1"],
  ["-- a comment\n  BEGIN; select 1; COMMIT;", "2:3"],
  ["select 1; start transaction isolation level serializable;", "1:11"],
  ["create table public.t (a int);\ncopy public.t (a) from stdin;", "2:1"],
  ["-- no-transaction\nselect 1;", "1:1"],
];

for (const [content, place] of refusedStatements) {
  test(`applySchema() refuses ${JSON.stringify(content)} with its position, before it applies anything`, async () => {
    await using database = await withDatabase({ isEmpty: true });
    await using folder = await withFiles({
      "migrations/0001-fine.sql": "create table public.fine (id int);",
      "migrations/0002-refused.sql": content,
    });
    const error = await failure(apply(database.administrator, folder));
    assert.deepEqual([error.code, error.exitCode], ["STATEMENT_REFUSED", 2]);
    assert.match(error.message, new RegExp(`0002-refused\\.sql:${place}: `));
    assert.deepEqual(await tablesOf(database.admin), []);
  });
}

test("applySchema() accepts words that only look like transaction control, and a byte order mark", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-looks.sql": `\uFEFFcreate function public.f() returns int language plpgsql as $x$
      begin
        return 1;
      end $x$;
      create function public.g() returns int language sql begin atomic select 1; end;
      -- ; commit;
      comment on function public.f is 'a; commit; b'; /* ; rollback; */`,
  });
  await apply(database.administrator, folder);
  const [row] = await database.admin`select public.f() + public.g() as sum`;
  assert.equal(row?.["sum"], 2);
});

test("a file that names a missing library or makes itself read-only has failed, not the server", async () => {
  await using database = await withDatabase({ isEmpty: true });
  for (const [text, code] of [
    ["load '$libdir/plugins/nosuch';", "58P01"],
    ["load '$libdir/plugins/pg_nosuch.so';", "58P01"],
    ["do $$ begin raise exception 'could not open file \"/base/1\"' using errcode = '58P01'; end $$;", "58P01"],
    ["set transaction read only; create table public.t (id int);", "25006"],
    ["set local default_transaction_read_only = on; set transaction read only; create table t (id int);", "25006"],
    ["do $$ begin raise exception 'x' using errcode = '58000'; end $$;", "58000"],
  ] as const) {
    await using folder = await withFiles({ "migrations/0001-first.sql": text });
    const error = await failure(apply(database.administrator, folder));
    assert.deepEqual([error.code, error.exitCode], ["MIGRATION_FAILED", 1], text);
    assert.match(error.why ?? "", new RegExp(`\\(${code}\\)`), text);
  }
});

test("a database that accepts no changes, or has lost a file, is the server's failure", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({ "migrations/0001-first.sql": "create table public.t (id int);" });
  const { admin, administrator } = database;
  const name = quoteIdentifier(administrator.database);
  await admin.unsafe(`alter database ${name} set default_transaction_read_only = on`);
  const readOnly = await failure(apply(administrator, folder));
  assert.deepEqual([readOnly.code, readOnly.exitCode], ["SERVER_READ_ONLY", 9]);
  await admin.unsafe(`alter database ${name} reset default_transaction_read_only`);
  await folder.write({
    "migrations/0001-first.sql": `do $$ begin
      raise exception 'could not open file "base/1/2": No such file or directory' using errcode = '58P01'; end $$;`,
  });
  const lost = await failure(apply(administrator, folder));
  assert.deepEqual([lost.code, lost.exitCode], ["SERVER_FILES", 9]);
});
