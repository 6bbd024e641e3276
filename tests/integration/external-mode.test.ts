import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { type ConnectionTarget, connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import {
  assertAppends,
  assertNoSecrets,
  assertUnchanged,
  detailOf,
  readFacts,
} from "../support/bootstrap-assertions.ts";
import { compareDumps, dumpNatively, whyNoNativeDump } from "../support/native-dump.ts";
import { readContent } from "../support/oracle.ts";
import { unusedPort } from "../support/port.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { sharedStack, type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
let cluster: TestStack;
before(async () => {
  stack = await sharedStack();
  cluster = await withCluster();
});
after(async () => {
  for (const part of [stack, cluster]) await part?.[Symbol.asyncDispose]();
});

test("an administrator who is not a superuser can bootstrap a server with --mode external", async () => {
  await using server = await withBareCluster();
  const first = await runForData<BootstrapResult>(words, server.options);
  assert.deepEqual([first.mode, first.isChanged], ["external", true]);
  const application = await server.application();
  await assertAppends(application);
  assertUnchanged(await runForData<BootstrapResult>(words, server.options));

  // The state contains the mode, the database and the login, but not the address.
  assertUnchanged(await runForData<BootstrapResult>(["bootstrap"], server.options));
  const status = await runForData<{ pending: string[] }>(["schema", "status"], server.options);
  assert.deepEqual(status.pending, []);
  assert.deepEqual((await runForData<{ applied: string[] }>(["schema", "apply"], server.options)).applied, []);

  await using admin = openConnection(server.superuser);
  const { roles } = await readFacts(admin.sql);
  assert.ok(roles.includes("ext user login inherit -1 infinity {role=cqrs_app}"), roles.join("\n"));
  const [row] = await admin.sql`
    select datdba::regrole::text as owner from pg_database where datname = ${application.database}`;
  assert.equal(row?.["owner"], groupRoles.owner);
});

test("an administrator who is not a superuser can repair damage, and sets the password from the secret", async () => {
  await using server = await withBareCluster();
  await runForData<BootstrapResult>(words, server.options);
  await using admin = openConnection(server.superuser);
  const before = await readFacts(admin.sql);
  await admin.sql
    .unsafe(`
    alter role "ext user" nologin connection limit 0 valid until '2001-01-01' password 'another';
    revoke cqrs_app from "ext user" granted by "boss@ü";
    grant cqrs_owner to "ext user" granted by "boss@ü";
    alter database "ext.db ü" reset all;
    grant connect on database "ext.db ü" to public`)
    .simple();
  const repaired = await runForData<BootstrapResult>(words, server.options);
  assert.equal(
    detailOf(repaired, "roles"),
    "repaired role ext user, revoked cqrs_owner from ext user, made ext user a member of cqrs_app",
  );
  assert.equal(detailOf(repaired, "database"), "repaired database ext.db ü");
  assert.equal(detailOf(repaired, "credentials"), "set ext user's password");
  assert.deepEqual(await readFacts(admin.sql), before);
  await assertAppends(await server.application());
});

/** Objects of many kinds that the application, the owner and somebody else create, none of them a superuser. */
const objects = `
  set role cqrs_app;
  create table read_model.made_by_application (id serial primary key);
  create type command_model.mood as enum ('sad', 'ok');
  create function command_model.touch() returns trigger language plpgsql as 'begin return new; end';
  create table command_model.person (id bigint generated always as identity primary key, m command_model.mood, at date)
    partition by range (id);
  create table command_model.person1 partition of command_model.person for values from (0) to (1000);
  create trigger touch before insert on command_model.person for each row execute function command_model.touch();
  alter table command_model.person enable row level security;
  create policy own on command_model.person using (m = 'ok');
  insert into command_model.person (m) values ('ok'), ('sad');
  create view read_model.people as select id, m from command_model.person;
  create materialized view read_model.moods as select m, count(*) from read_model.people group by m;
  create domain read_model.positive as integer check (value > 0);
  select lo_from_bytea(70001, 'contract');
  comment on large object 70001 is 'c';
  alter default privileges in schema read_model grant select on tables to public;
  grant select (id) on command_model.person to public;
  reset role;
  set role cqrs_owner;
  create schema billing;
  create table billing.invoice (id integer primary key, amount numeric check (amount > 0));
  insert into billing.invoice values (1, 2.5);
  grant usage on schema billing to cqrs_app;
  grant usage, create on schema billing to cqrs_app_owner;
  grant select on billing.invoice to cqrs_app;
  create index by_hand on event_store.domain_event (event_type);
  create table billing.of_project (id integer);
  alter table billing.of_project owner to cqrs_app_owner;
  reset role`;

async function makeObjects(server: BareCluster, database: string): Promise<void> {
  const boss = await server.administrator(database);
  await using administrator = openConnection(boss);
  await administrator.sql.unsafe(objects).simple();
}

test("an administrator who is not a superuser can back up and restore; sessions it may not end are reported", async () => {
  await using server = await withBareCluster();
  await runForData<BootstrapResult>(words, server.options);
  const application = await server.application();
  await assertAppends(application);
  const database = { ...server.superuser, database: application.database };
  const content = async () => {
    await using admin = openConnection(database);
    return await readContent(admin.sql);
  };
  await makeObjects(server, application.database);
  const archived = await content();
  const dumped = whyNoNativeDump() === undefined ? dumpNatively(18, database) : undefined;
  await runForData(["backup"], server.options);
  await assertAppends(application);
  await runForData(["restore", "latest", "--yes", "--drop-old"], server.options);
  assert.deepEqual(await content(), archived);
  if (dumped !== undefined) {
    const changed = ["SEQUENCE SET event_store.domain_event_global_position", "TABLE DATA event_store.log_epoch"];
    assert.deepEqual(compareDumps(dumped, dumpNatively(18, database)), changed);
  }

  await using session = openConnection(application, { applicationName: "at work" });
  await session.sql`select 1`;
  const refused = await runScript(["restore", "latest", "--yes"], server.options);
  assert.equal(refused.exitCode, 3, refused.stderr);
  assert.match(refused.stderr, /could not be ended; the database is unchanged\n.*at work/);
  await session.sql`select 1`;
  assert.deepEqual(await content(), archived);
});

test("an external administrator without the required privileges is told which are missing", async () => {
  await using server = await withBareCluster();
  await using admin = openConnection(server.superuser);
  await admin.sql.unsafe(`alter role "boss@ü" nocreatedb`);
  const withoutDatabase = await runScript(words, server.options);
  assert.equal(withoutDatabase.exitCode, 9, withoutDatabase.stderr);
  assert.match(withoutDatabase.stderr, /^error: boss@ü lacks the privileges to set up the roles and the database$/m);
  assert.match(withoutDatabase.stderr, /^ {2}why: permission denied to create database$/m);

  await admin.sql.unsafe(`create role "somebody else" login createrole createdb password 'abc'`);
  const url = connectionUrl({ ...server.superuser, user: "somebody else", password: "abc" });
  const withoutRoles = await runScript(words, { ...server.options, env: { DATABASE_URL: url } });
  assert.equal(withoutRoles.exitCode, 9, withoutRoles.stderr);
  assert.match(
    withoutRoles.stderr,
    /^ {2}fix: .*grant cqrs_owner, cqrs_app, cqrs_app_owner to "somebody else" with admin option;$/m,
  );
});

test("the external administrator's own login is refused as the application's login", async () => {
  await using server = await withBareCluster();
  const ran = await runScript([...words.slice(0, -1), "boss@ü"], server.options);
  assert.equal(ran.exitCode, 2);
  assert.match(ran.stderr, /^error: boss@ü cannot be both the administrator and the application's login$/m);
});

test("a wrong password of the external administrator exits with 6 and a masked URL", async () => {
  await using folder = await withFolder();
  const target = { ...(await stack.administrator()), password: "wrong/p@ss" };
  const env = { DATABASE_URL: connectionUrl(target) };
  for (const script of [
    ["bootstrap", "--mode", "external"],
    ["schema", "status", "--mode", "external"],
  ]) {
    const ran = await runScript(script, { stackDir: folder.dir, env });
    assert.equal(ran.exitCode, 6, ran.stderr);
    assert.ok(ran.stderr.includes(`PostgreSQL rejected the login postgres://postgres:****@127.0.0.1:${target.port}/`));
    assertNoSecrets(ran, ["wrong/p@ss", "wrong%2Fp%40ss"]);
  }
});

test("an unreachable external server exits with 3 and a masked URL", async () => {
  await using folder = await withFolder();
  const port = await unusedPort();
  const env = { DATABASE_URL: `postgres://boss:s3cr3t-w0rd@127.0.0.1:${port}/x` };
  const ran = await runScript(["bootstrap", "--mode", "external"], { stackDir: folder.dir, env });
  assert.equal(ran.exitCode, 3, ran.stderr);
  assert.match(ran.stderr, /^error: Cannot use postgres:\/\/boss:\*\*\*\*@127\.0\.0\.1:\d+\/x$/m);
  assert.match(ran.stderr, /ECONNREFUSED/);
  assertNoSecrets(ran, ["s3cr3t-w0rd"]);
});

test("schema apply on a server without a bootstrap exits with 3 and reports what is missing", async () => {
  await using server = await withBareCluster();
  const ran = await runScript(["schema", "apply", "--mode", "external", "--database", "template1"], server.options);
  assert.equal(ran.exitCode, 2, "a maintenance database is refused");
  await using admin = openConnection(server.superuser);
  await admin.sql`create database unprepared`;
  const unprepared = await runScript(
    ["schema", "apply", "--mode", "external", "--database", "unprepared"],
    server.options,
  );
  assert.equal(unprepared.exitCode, 3, unprepared.stderr);
  assert.match(unprepared.stderr, /role "cqrs_owner" does not exist/);
  assert.match(unprepared.stderr, /fix: Run bun run bootstrap/);
});

test("DATABASE_URL names the database to create, unless it is a maintenance database", async () => {
  await using server = await withBareCluster();
  const url = new URL(server.options.env["DATABASE_URL"] ?? "");
  for (const [given, made] of [
    ["named", "named"],
    ["template1", "named"],
  ]) {
    url.pathname = `/${given}`;
    const options = { ...server.options, env: { DATABASE_URL: url.href } };
    assert.equal((await runForData<BootstrapResult>(["bootstrap", "--mode", "external"], options)).database, made);
  }
});

test("the application's login is refused as the administrator", async () => {
  await using folder = await withFolder();
  const env = { DATABASE_URL: connectionUrl(await stack.application()) };
  for (const login of ["cqrs_user", "another"]) {
    const ran = await runScript(["bootstrap", "--mode", "external", "--user", login], { stackDir: folder.dir, env });
    assert.equal(ran.exitCode, 2, ran.stderr);
    assert.match(ran.stderr, /cqrs_user cannot be both the administrator and the application's login/);
  }
});

test("a missing address of the external server exits with 2", async () => {
  await using folder = await withFolder();
  const ran = await runScript(["bootstrap", "--mode", "external"], { stackDir: folder.dir });
  assert.equal(ran.exitCode, 2);
  assert.match(ran.stderr, /^error: No external server is configured$/m);
});

const words = ["bootstrap", "--mode", "external", "--database", "ext.db ü", "--user", "ext user"];

interface BareCluster extends AsyncDisposable {
  readonly superuser: ConnectionTarget;
  /** For a stack directory without an embedded server. */
  readonly options: { readonly stackDir: string; readonly env: Readonly<Record<string, string>> };
  application(): Promise<ConnectionTarget & { readonly password: string }>;
  /** The administrator, for a database. */
  administrator(database: string): Promise<ConnectionTarget>;
}

/** A cluster run by somebody else: without our roles and database, its administrator not a superuser. */
async function withBareCluster(): Promise<BareCluster> {
  const folder = await withFolder();
  const superuser = { ...(await cluster.administrator()), database: "postgres" };
  const boss = { ...superuser, user: "boss@ü", password: generatePassword() };
  await using admin = openConnection(superuser);
  await removeEverything(admin.sql);
  await admin.sql.unsafe(`create role "boss@ü" login createrole createdb password '${boss.password}'`);
  return {
    superuser,
    options: { stackDir: folder.dir, env: { DATABASE_URL: connectionUrl(boss) } },
    administrator: async (database) => ({ ...boss, database }),
    async application() {
      await using store = new FileSecretStore(join(folder.dir, "secrets"));
      const { username = "", password = "", database = "" } = (await store.read(secretPaths.application))?.data ?? {};
      return { ...superuser, user: username, password, database };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** Removes every role and database but those of initdb. */
async function removeEverything(sql: Sql): Promise<void> {
  const databases = await sql<{ name: string }[]>`
    select format('%I', datname) as name from pg_database where not datistemplate and datname <> 'postgres'`;
  for (const { name } of databases) await sql.unsafe(`drop database ${name} with (force)`);
  const roles = await sql<{ name: string }[]>`
    select format('%I', rolname) as name from pg_roles where rolname !~ '^pg_' and rolname <> 'postgres'`;
  if (roles.length > 0) await sql.unsafe(`drop role ${roles.map(({ name }) => name).join()}`);
}

async function withFolder(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-external-"));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}
