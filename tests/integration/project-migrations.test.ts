import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import { readSchemaStatus } from "../../scripts/lib/schema/apply.ts";
import { readAllFiles } from "../../scripts/lib/schema/source.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { applyProject, type Files, failure, withFiles } from "../support/schema-folder.ts";

const invoices: Files = {
  "migrations/0001-invoices.sql": `create table command_model.invoice (
  id bigint generated always as identity primary key,
  event_id uuid references event_store.domain_event (event_id),
  amount_cents integer not null
);
`,
  "routines/read_model.invoice_total.sql": `create or replace view read_model.invoice_total as
select count(*) as invoices, sum(amount_cents) as cents from command_model.invoice;
`,
};

async function migrationLogins({ admin }: TestDatabase): Promise<number> {
  const [row] = await admin<{ count: number }[]>`
    select count(*)::int as count from pg_roles
    where rolname = 'cqrs_migration_' || (select oid from pg_database where datname = current_database())`;
  return row?.count ?? 0;
}

test("the files of a project are applied as cqrs_app_owner, by a login that is gone afterwards", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(invoices);
  assert.deepEqual((await applyProject(database, folder)).applied, [
    "app/migrations/0001-invoices.sql",
    "app/routines/read_model.invoice_total.sql",
  ]);
  assert.deepEqual((await applyProject(database, folder)).applied, []);
  const owners = await database.admin`
    select distinct relowner::regrole::text as owner from pg_class where relname in ('invoice', 'invoice_total')`;
  assert.deepEqual([...owners], [{ owner: "cqrs_app_owner" }]);
  const rows = await database.admin`
    select source, name, applied_by from public.schema_migration where source = 'app' order by name`;
  assert.deepEqual(
    rows.map((row) => [row["name"], row["applied_by"]]),
    Object.keys(invoices).map((name) => [name, database.administrator.user]),
  );
  assert.equal(await migrationLogins(database), 0);
});

test("the application uses what the files of a project have created", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    ...invoices,
    "routines/command_model.twice.sql":
      "create or replace function command_model.twice(n integer) returns integer language sql return n * 2;",
  });
  await applyProject(database, folder);
  await database.sql`insert into invoice (amount_cents) values (twice(21))`;
  assert.deepEqual(
    [...(await database.sql`select invoices, cents from invoice_total`)],
    [{ invoices: 1n, cents: 42n }],
  );
});

const attacks: Readonly<Record<string, string>> = {
  "an update": "update event_store.domain_event set event_data = '{}'",
  "a delete": "delete from event_store.event_stream",
  "a truncation": "truncate event_store.domain_event cascade",
  "disabling the triggers": "alter table event_store.domain_event disable trigger all",
  "replica mode": "set session_replication_role = replica",
  "the owner's role": "set role cqrs_owner; alter table event_store.domain_event disable trigger all",
  "the administrator's role": "reset role; alter table event_store.domain_event disable trigger all",
  "the administrator's session":
    "reset session authorization; alter table event_store.domain_event disable trigger all",
  "another session": "set session authorization postgres",
  "a block that resets the role":
    "do $$ begin execute 'reset role'; execute 'alter table event_store.domain_event disable trigger all'; end $$",
  "a setting that resets the role":
    "select set_config('role', 'none', true); alter table event_store.domain_event disable trigger all",
  "a trigger on the log":
    "create trigger t before insert on event_store.domain_event execute function suppress_redundant_updates_trigger()",
  "a column of the log": "alter table event_store.domain_event add column extra text",
  "a rule": "create rule r as on insert to event_store.domain_event do instead nothing",
  "a policy": "alter table event_store.domain_event enable row level security",
  "a table in event_store": "create table event_store.mine (id integer)",
  "a table in public": "create table public.mine (id integer)",
  "a function of the log":
    "create or replace function event_store.safe_position() returns bigint language sql return 0",
  "the product's rows in the ledger": "delete from public.schema_migration",
  "no role": "set role none; alter table event_store.domain_event disable trigger all",
  "default privileges of the owner": "alter default privileges for role cqrs_owner grant all on tables to public",
  "a role": "create role mine",
  "a setting of the server": "do $$ begin execute 'alter system set fsync = off'; end $$",
  "a file of the server": "copy (select 1) to program 'true'",
  "the owner's functions": "alter function event_store.refuse_change() owner to cqrs_app_owner",
};

test("a file of a project cannot weaken the log, whatever it tries", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({});
  for (const [what, text] of Object.entries(attacks)) {
    await folder.write({ "migrations/0001-attack.sql": `create table read_model.mine (); ${text};` });
    const error = await failure(applyProject(database, folder));
    assert.equal(error.code, "MIGRATION_FAILED", what);
    assert.match(error.why ?? "", /\((42501|0LP01|2F003|55000|25001)\)/, what);
    const [row] = await database.admin`select to_regclass('read_model.mine') as mine`;
    assert.equal(row?.["mine"], null, what);
  }
  const enabled = await database.admin`
    select distinct tgenabled from pg_trigger where tgrelid = 'event_store.domain_event'::regclass and not tgisinternal`;
  assert.ok(enabled.length > 0 && enabled.every((trigger) => trigger["tgenabled"] !== "D"));
});

test("a file that has reset the role creates nothing as another role", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    "migrations/0001-reset.sql": "set role none; create table read_model.mine (id integer);",
  });
  assert.match((await failure(applyProject(database, folder))).why ?? "", /42501/);
  await folder.write({
    "migrations/0001-reset.sql": "set role none; set role cqrs_app_owner; create table read_model.mine ();",
  });
  await applyProject(database, folder);
  const [row] = await database.admin`
    select relowner::regrole::text as owner from pg_class where oid = 'read_model.mine'::regclass`;
  assert.equal(row?.["owner"], "cqrs_app_owner");
});

test("the numbers of a project have nothing to do with those of the product", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-schemas.sql": "create table read_model.mine ();" });
  await applyProject(database, folder);
  const { applied, pending } = await readSchemaStatus(
    database.administrator,
    await readAllFiles(folder.dir),
    new AbortController().signal,
  );
  assert.deepEqual(pending, []);
  const both = applied.filter(({ name }) => name === "migrations/0001-schemas.sql").map(({ source }) => source);
  assert.deepEqual(both, ["cqrs", "app"]);
});

test("--to applies the project's migrations up to a number, and no routine before the last one", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    ...invoices,
    "migrations/0002-customers.sql": "create table command_model.customer (id integer);",
    "migrations/0003-orders.sql": "create table command_model.purchase (id integer);",
  });
  assert.deepEqual((await applyProject(database, folder, { to: "0002" })).applied, [
    "app/migrations/0001-invoices.sql",
    "app/migrations/0002-customers.sql",
  ]);
  assert.deepEqual((await applyProject(database, folder, { to: "0003" })).applied, [
    "app/migrations/0003-orders.sql",
    "app/routines/read_model.invoice_total.sql",
  ]);
  assert.deepEqual([(await failure(applyProject(database, folder, { to: "0009" }))).code], ["USAGE"]);
});

test("a dry run finds what fails, and changes nothing", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    ...invoices,
    "migrations/0002-index.sql":
      "-- no-transaction\ncreate index concurrently invoice_idx on command_model.invoice (id);",
  });
  const { applied, untried, isDryRun } = await applyProject(database, folder, { isDryRun: true });
  assert.deepEqual(
    [applied, untried, isDryRun],
    [
      ["app/migrations/0001-invoices.sql"],
      ["app/migrations/0002-index.sql", "app/routines/read_model.invoice_total.sql"],
      true,
    ],
  );
  const [row] = await database.admin`select to_regclass('command_model.invoice') as invoice`;
  assert.equal(row?.["invoice"], null);
  await folder.remove("migrations/0002-index.sql");
  await folder.write({ "migrations/0003-wrong.sql": "select 1;\nselect 1/0;\n" });
  const error = await failure(applyProject(database, folder, { isDryRun: true }));
  assert.equal(error.message, `${join(folder.dir, "migrations/0003-wrong.sql")}:2:1: division by zero`);
});

test("a dry run stops at a file that it cannot try, and finds what only a commit would check", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    ...invoices,
    "migrations/0002-index.sql": "-- no-transaction\ncreate table command_model.late (id integer);",
    "migrations/0003-late.sql": "alter table command_model.late add primary key (id);",
  });
  const { applied, untried } = await applyProject(database, folder, { isDryRun: true });
  assert.deepEqual(applied, ["app/migrations/0001-invoices.sql"]);
  assert.equal(untried.length, 3);
  await folder.write({
    "migrations/0002-index.sql": `create table command_model.late (id integer unique deferrable initially deferred);
insert into command_model.late values (1), (1);`,
  });
  await folder.remove("migrations/0003-late.sql");
  const error = await failure(applyProject(database, folder, { isDryRun: true }));
  assert.match(error.why ?? "", /23505/);
  assert.match(error.fix ?? "", /This was a dry run: nothing was applied\.$/);
});

const ended: Readonly<Record<string, readonly [string, string]>> = {
  commit: ["select 1;\n  commit;", "2:3"],
  end: ["select 1; end;", "1:11"],
  "commit and chain": ["select 1; /* commit */ commit and chain;", "1:24"],
  abort: ["abort", "1:1"],
  "rollback after an E-string": ["select E'it\\'s; commit';\nrollback;", "2:1"],
  "a commit after a nested comment": ["/* a /* commit; */ b */ commit work;", "1:25"],
  begin: ["begin; select 1; end", "1:1"],
  "prepare transaction": ["prepare transaction 'x'", "1:1"],
};

test("a file that would end its transaction is refused before anything is applied", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(invoices);
  for (const [what, [text, place]] of Object.entries(ended)) {
    await folder.write({ "migrations/0002-ends.sql": text });
    const error = await failure(applyProject(database, folder));
    assert.deepEqual([error.code, error.exitCode], ["STATEMENT_REFUSED", 2], what);
    assert.ok(error.message.startsWith(`${join(folder.dir, "migrations/0002-ends.sql")}:${place}: `), error.message);
  }
  assert.equal((await database.admin`select to_regclass('command_model.invoice') as t`)[0]?.["t"], null);
});

test("a commit in a string as the server reads it, but not the parser, is never run", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    "migrations/0001-strings.sql":
      "create table read_model.mine ();\nset standard_conforming_strings = off;\nselect 'a\\', 'b; commit; --';\n",
  });
  const error = await failure(applyProject(database, folder));
  assert.equal(error.code, "MIGRATION_FAILED");
  assert.equal((await database.admin`select to_regclass('read_model.mine') as t`)[0]?.["t"], null);
});

test("an administrator who is no superuser applies the files of a project, too", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(invoices);
  const user = `plain admin "${database.name}`;
  const role = quoteIdentifier(user);
  const password = "plain";
  await database.admin.unsafe(`create role ${role} login createrole password '${password}'`);
  try {
    await database.admin.unsafe(`grant cqrs_owner, cqrs_app_owner to ${role} with admin option`);
    const administrator = { ...database.administrator, user, password };
    assert.equal((await applyProject({ ...database, administrator }, folder)).applied.length, 2);
    assert.equal(await migrationLogins(database), 0);
    await database.admin.unsafe(`revoke admin option for cqrs_app_owner from ${role}`);
    await folder.write({ "migrations/0002-more.sql": "select 1" });
    const error = await failure(applyProject({ ...database, administrator }, folder));
    assert.deepEqual([error.code, error.exitCode], ["PRIVILEGES", 9]);
  } finally {
    await database.admin.unsafe(`drop role ${role}`);
  }
});

test("a login that a killed run has left behind is replaced", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(invoices);
  const [row] = await database.admin`
    select 'cqrs_migration_' || oid as login from pg_database where datname = current_database()`;
  const login = row?.["login"] as string;
  await database.admin.unsafe(`create role ${login} login; grant cqrs_app_owner to ${login}`);
  await database.admin.unsafe(`grant connect on database ${quoteIdentifier(database.name)} to ${login}`);
  await applyProject(database, folder);
  assert.equal(await migrationLogins(database), 0);
});
