import assert from "node:assert/strict";
import { test } from "node:test";
import { withDatabase } from "../support/database.ts";
import { apply, failure, tablesOf, withFiles } from "../support/schema-folder.ts";

test("an error without a position names the line of its statement, and nothing behind it runs", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await database.admin`create sequence public.runs`;
  await database.admin`grant usage on sequence public.runs to public`;
  await using folder = await withFiles({
    "migrations/0001-twice.sql": `-- 🐘 ünïcode
create table public.once (id int constraint once_pkey primary key);
select nextval('public.runs'), 'ä🐘' as text;
insert into public.once values (1);
  insert into public.once values (1);
select nextval('public.runs');
`,
  });
  const { code, message } = await failure(apply(database.administrator, folder));
  assert.equal(code, "MIGRATION_FAILED");
  assert.match(message, /0001-twice\.sql:5:3: duplicate key/);
  assert.deepEqual([...(await database.admin`select last_value::int as runs from public.runs`)], [{ runs: 1 }]);
});

test("an error with a position names the line and the column, behind characters of several bytes", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-missing.sql": `comment on schema public is '🐘🐘';
create table public.once (id int);
select '🐘', missing
from public.once -- the end`,
  });
  const { message } = await failure(apply(database.administrator, folder));
  assert.match(message, /0001-missing\.sql:3:13: column "missing" does not exist/);
});

test("a string that the server's settings read as transaction control does not end the transaction", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({
    "migrations/0001-strings.sql": "create table public.kept (id int);\nselect '\\';\nselect '; commit; --';\n",
  });
  const { database: name } = database.administrator;
  await database.admin.unsafe(`alter database ${name} set standard_conforming_strings = off`);
  const { code } = await failure(apply(database.administrator, folder));
  assert.equal(code, "MIGRATION_FAILED");
  assert.ok(!(await tablesOf(database.admin)).includes("kept"));
});
