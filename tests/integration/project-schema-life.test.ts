import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { runTogether } from "../../scripts/lib/schema/run-files.ts";
import { parseStatements } from "../../scripts/lib/schema/statements.ts";
import { withDatabase } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { failure, withFiles } from "../support/schema-folder.ts";
import { withCluster } from "../support/stack.ts";

const first = "migrations/0001-invoices.sql";
const table = `create table command_model.invoice (id integer);
comment on table command_model.invoice is 'Invoices';
insert into command_model.invoice values (1), (2);
`;

interface Status {
  readonly pendingMigrations: number | null;
  readonly schemaProblem: string | null;
}

test("bootstrap, status, backup and restore know the files of a project", async () => {
  await using stack = await withCluster();
  await using folder = await withFiles({ [first]: table });
  const options = { stackDir: stack.stackDir, env: { CQRS_SQL_DIR: folder.dir } };
  await runForData(["bootstrap"], options);
  await folder.write({
    "routines/read_model.total.sql": "create or replace view read_model.total as select 1 as one;",
  });
  assert.equal((await runForData<Status>(["status"], options)).pendingMigrations, 1);
  await runForData(["schema", "apply"], options);
  await runForData(["backup"], options);

  const administrator = await stack.administrator();
  await using connection = openConnection(administrator);
  await connection.sql`insert into command_model.invoice values (3)`;
  await runForData(["restore", "latest", "--yes"], options);
  await using restored = openConnection(administrator);
  const [row] = await restored.sql`select count(*)::int as count from command_model.invoice`;
  assert.equal(row?.["count"], 2);
  const owners = await restored.sql`
    select relowner::regrole::text as owner from pg_class where relname in ('invoice', 'total') group by 1`;
  assert.deepEqual([...owners], [{ owner: "cqrs_app_owner" }]);
  const status = await runForData<Status>(["status"], options);
  assert.deepEqual([status.pendingMigrations, status.schemaProblem], [0, null]);
  const drift = await runForData<{ drift: unknown[] }>(["schema", "status", "--drift"], options);
  assert.deepEqual(drift.drift, []);

  await folder.write({ [first]: `${table}select 1;\n` });
  const warned = await runScript(["restore", "latest", "--yes"], options);
  assert.equal(warned.exitCode, 0, warned.stderr);
  assert.match(warned.stderr, /app\/migrations\/0001-invoices\.sql was edited after it was applied/);
  assert.match((await runForData<Status>(["status"], options)).schemaProblem ?? "", /0001-invoices\.sql was edited/);
  const elsewhere = await runScript(["bootstrap"], { ...options, env: { CQRS_SQL_DIR: join(folder.dir, "none") } });
  assert.equal(elsewhere.exitCode, 4, elsewhere.stderr);
  assert.match(elsewhere.stderr, /app\/migrations\/0001-invoices\.sql was applied .* the file is missing/);
});

/** Each fits better than the built-in function that commands call. */
const overloads = `
create function command_model.to_jsonb(public.schema_migration) returns jsonb language plpgsql as $$
begin raise exception 'called as %', session_user; end $$;
create function command_model.format(text, name, name) returns text language plpgsql as $$
begin raise exception 'called as %', session_user; end $$;
create function command_model.count(name) returns bigint language plpgsql as $$
begin raise exception 'called as %', session_user; end $$;
create function command_model.current_setting(varchar) returns text language plpgsql as $$
begin raise exception 'called as %', session_user; end $$;
create function read_model.split_part(text, text, bigint) returns text language plpgsql as $$
begin raise exception 'called as %', session_user; end $$;
`;

test("functions that a project has made beside built-in ones are not called by commands", async () => {
  await using stack = await withCluster();
  await using folder = await withFiles({ [first]: overloads });
  const options = { stackDir: stack.stackDir, env: { CQRS_SQL_DIR: folder.dir } };
  await runForData(["bootstrap"], options);
  await folder.write({ "migrations/0002-more.sql": "select 1;" });
  for (const words of [
    ["schema", "status", "--drift"],
    ["schema", "apply"],
    ["schema", "repair", "--dry-run"],
    ["status"],
    ["bootstrap"],
    ["backup"],
    ["restore", "latest", "--yes"],
    ["backup", "verify"],
    ["verify"],
    ["reset", "--yes"],
  ]) {
    const { exitCode, stdout, stderr } = await runScript(words, options);
    assert.doesNotMatch(`${stdout}${stderr}`, /called as/, words.join(" "));
    assert.equal(exitCode, 0, `${words.join(" ")}: ${stderr}`);
  }
});

test("a file that ends its transaction in a way that no parser has seen is noticed", async () => {
  await using database = await withDatabase();
  await using connection = openConnection(database.administrator, { role: "cqrs_owner" });
  for (const [name, end] of [
    ["one", "commit and chain"],
    ["other", "commit; begin"],
  ] as const) {
    const file = {
      source: "cqrs",
      kind: "migration",
      name: first,
      path: first,
      text: "",
      checksum: "0".repeat(64),
    } as const;
    const statements = await parseStatements(`create table read_model.${name} (); ${end}; select 1`);
    const prepared = { file, expanded: { text: "", locate: () => "1:1" }, statements, isTransactional: true };
    const limits = {
      lockTimeoutMs: 1_000,
      statementTimeoutMs: 0,
      timeoutMs: 1_000,
      signal: new AbortController().signal,
      onBlocked: () => {},
    };
    const session = {
      sql: connection.sql,
      role: "cqrs_owner",
      appliedBy: "me",
      observer: database.admin,
      backend: { pid: undefined },
      limits,
    };
    const error = await failure(runTogether(session, [prepared], false));
    assert.deepEqual([error.code, error.exitCode], ["TRANSACTION_ENDED", 1]);
    const rows = await database.admin`select from public.schema_migration where checksum = ${file.checksum}`;
    assert.equal(rows.length, 0);
  }
});
