import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadConfig } from "../../scripts/lib/config.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { reconcilePassword } from "../../scripts/lib/postgres/logins/login.ts";
import { ensureRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";
import { type BootstrapResult, bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import { ensureDatabase } from "../../scripts/lib/stack/database.ts";
import {
  assertAppends,
  assertNoSecrets,
  assertUnchanged,
  detailOf,
  readFacts,
} from "../support/bootstrap-assertions.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { makeTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";

const superuser = { name: "postgres", login: "postgres", isSuperuser: true };

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

/** A change to the roles or the database, the statement that makes it, and what the repair reports. */
const damages: readonly (readonly [string, string, RegExp])[] = [
  ["the login a superuser", "alter role cqrs_user superuser", /^repaired role cqrs_user$/],
  ["the login able to create roles", "alter role cqrs_user createrole", /^repaired role cqrs_user$/],
  ["the login able to create databases", "alter role cqrs_user createdb", /^repaired role cqrs_user$/],
  [
    "the login able to replicate and to see all rows",
    "alter role cqrs_user replication bypassrls",
    /^repaired role cqrs_user$/,
  ],
  ["the login unable to log in", "alter role cqrs_user nologin", /^repaired role cqrs_user$/],
  ["the login expired", "alter role cqrs_user valid until '2001-01-01'", /^repaired role cqrs_user$/],
  ["the login limited to 0 connections", "alter role cqrs_user connection limit 0", /^repaired role cqrs_user$/],
  ["the login inherit nothing", "alter role cqrs_user noinherit", /^repaired role cqrs_user$/],
  ["the login lose its settings", "alter role cqrs_user reset all", /^repaired role cqrs_user$/],
  ["the login start without a role", "alter role cqrs_user set role = none", /^repaired role cqrs_user$/],
  ["the login leave cqrs_app", "revoke cqrs_app from cqrs_user", /^made cqrs_user a member of cqrs_app$/],
  [
    "the login unable to act as cqrs_app",
    "grant cqrs_app to cqrs_user with set false",
    /^made cqrs_user a member of cqrs_app$/,
  ],
  ["the login a member of cqrs_owner", "grant cqrs_owner to cqrs_user", /^revoked cqrs_owner from cqrs_user$/],
  [
    "cqrs_app a member of cqrs_owner",
    "revoke cqrs_app from cqrs_owner; grant cqrs_owner to cqrs_app with admin option",
    /^revoked cqrs_owner from cqrs_app, made cqrs_owner a member of cqrs_app$/,
  ],
  ["cqrs_owner leave cqrs_app", "revoke cqrs_app from cqrs_owner", /^made cqrs_owner a member of cqrs_app$/],
  ["cqrs_app a login", "alter role cqrs_app login", /^repaired role cqrs_app$/],
  ["cqrs_owner a superuser that logs in", "alter role cqrs_owner superuser login", /^repaired role cqrs_owner$/],
  ["another role the owner of the database", "alter database cqrs_db owner to postgres", /^repaired database cqrs_db$/],
  [
    "the search path of the database another one",
    "alter database cqrs_db set search_path = event_store",
    /^repaired database cqrs_db$/,
  ],
  ["the database lose its settings", "alter database cqrs_db reset all", /^repaired database cqrs_db$/],
  ["the database open to every role", "grant connect on database cqrs_db to public", /^repaired database cqrs_db$/],
  ["every role able to create schemas", "grant create on database cqrs_db to public", /^repaired database cqrs_db$/],
  [
    "the database closed to the application",
    "revoke all on database cqrs_db from cqrs_app",
    /^repaired database cqrs_db$/,
  ],
];

for (const [what, statement, reports] of damages) {
  test(`bootstrap() repairs and reports it if something made ${what}`, async () => {
    await using admin = await administrator();
    const before = await readFacts(admin.sql);
    await admin.sql.unsafe(statement).simple();
    assert.notDeepEqual(await readFacts(admin.sql), before);
    const result = await run();
    assert.ok(result.isChanged);
    assert.match(detailOf(result, reports.source.includes("database") ? "database" : "roles"), reports);
    assert.deepEqual(await readFacts(admin.sql), before);
    await assertAppends(await stack.application());
    assertUnchanged(await run());
  });
}

test("bootstrap() revokes cqrs_owner from the login, whichever role granted it", async () => {
  await using admin = await administrator();
  await admin.sql
    .unsafe(`
    create role another nologin;
    grant cqrs_owner to another with admin option;
    grant cqrs_owner to cqrs_user granted by another`)
    .simple();
  const result = await run();
  assert.equal(detailOf(result, "roles"), "revoked cqrs_owner from cqrs_user");
  assert.deepEqual((await readFacts(admin.sql)).memberships, [
    "cqrs_app to cqrs_owner",
    "cqrs_app to cqrs_user",
    "cqrs_app_owner to cqrs_owner",
    "cqrs_owner to another",
  ]);
  await admin.sql.unsafe("drop role another");
});

test("bootstrap() creates missing roles", async () => {
  await using admin = await administrator();
  await admin.sql.unsafe("drop role cqrs_user");
  const result = await run();
  assert.equal(detailOf(result, "roles"), "created role cqrs_user, made cqrs_user a member of cqrs_app");
  await assertAppends(await stack.application());
});

test("bootstrap() reports that nothing changed if nothing had to", async () => {
  assertUnchanged(await run());
  const { stdout } = await runScript(["bootstrap"], { stackDir: stack.stackDir });
  assert.match(stdout, /^ready \(nothing to change\) {2}postgres:\/\/cqrs_user:\*\*\*\*@/);
});

test("bootstrap() replaces another password, a missing one and an md5 one with that of the secret", async () => {
  await using admin = await administrator();
  for (const password of ["'another'", "null", `'md5${"0".repeat(32)}'`]) {
    await admin.sql.unsafe(`alter role cqrs_user password ${password}`);
    assert.equal(detailOf(await run(), "credentials"), "set cqrs_user's password");
    await assertAppends(await stack.application());
  }
});

test("bootstrap() picks up a password that was changed in the secret store", async () => {
  const password = generatePassword();
  await using store = new FileSecretStore(join(stack.stackDir, "secrets"));
  const newest = await store.read(secretPaths.application);
  const version = newest?.version ?? 0;
  await store.write(secretPaths.application, { ...newest?.data, password }, { cas: version });
  const result = await run();
  assert.equal(detailOf(result, "credentials"), "wrote the secret, set cqrs_user's password");
  const application = await stack.application();
  assert.equal(application.password, password);
  await assertAppends(application);
  const after = await store.read(secretPaths.application);
  assert.equal(after?.data["uri"], connectionUrl(application));
  assertUnchanged(await run());
});

test("bootstrap() prefers the configured password, stores it, and keeps it when it is no longer configured", async () => {
  const given = `pass word'"\\@:/?#[]%$1`;
  const result = await run({ POSTGRES_PASSWORD: given });
  assert.equal(detailOf(result, "credentials"), "wrote the secret, set cqrs_user's password");
  assertUnchanged(await run());
  const application = await stack.application();
  assert.equal(application.password, given);
  await assertAppends(application);
});

test("8 concurrent sessions repair a role with ensureRoles(), and its password with reconcilePassword()", async () => {
  await using admin = await administrator();
  await using sessions = await openSessions(8);
  const wanted = await readFacts(admin.sql);
  for (let round = 0; round < testRounds(5); round++) {
    await admin.sql.unsafe("alter role cqrs_user superuser nologin connection limit 0 password null");
    const repairs = await Promise.all(sessions.sqls.map((sql) => ensureRoles(sql, superuser, "cqrs_user")));
    assert.ok(repairs.flat().includes("repaired role cqrs_user"));
    assert.deepEqual(await readFacts(admin.sql), wanted);
    const application = await stack.application();
    const resets = await Promise.all(sessions.sqls.map((sql) => reconcilePassword(sql, superuser, application)));
    assert.ok(resets.includes(true));
    await assertAppends(application);
  }
});

test("8 concurrent sessions create and repair a database with ensureDatabase()", async () => {
  await using admin = await administrator();
  await using sessions = await openSessions(8);
  for (let round = 0; round < testRounds(5); round++) {
    const name = `raced ${round}`;
    const made = await Promise.all(sessions.sqls.map((sql) => ensureDatabase(sql, superuser, name)));
    assert.deepEqual(
      made.flat().filter((change) => change.startsWith("created")),
      [`created database ${name}`],
    );
    const wanted = await readFacts(admin.sql);
    await admin.sql.unsafe(`alter database "${name}" reset all; grant all on database "${name}" to public`).simple();
    const repairs = await Promise.all(sessions.sqls.map((sql) => ensureDatabase(sql, superuser, name)));
    assert.ok(repairs.flat().includes(`repaired database ${name}`));
    assert.deepEqual(await readFacts(admin.sql), wanted);
    await admin.sql.unsafe(`drop database "${name}"`);
  }
});

test("bootstrap() never shows a password", async () => {
  const password = generatePassword();
  const options = { stackDir: stack.stackDir, env: { POSTGRES_PASSWORD: password } };
  for (const words of [
    ["bootstrap", "--verbose"],
    ["bootstrap", "--json"],
  ]) {
    const ran = await runScript(words, options);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assertNoSecrets(ran, [password]);
  }
});

for (const user of ["postgres", "cqrs_owner", "cqrs_app", "pg_monitor"]) {
  test(`bootstrap() refuses ${user} as the application's login`, async () => {
    const { exitCode, stderr } = await runScript(["bootstrap", "--user", user], { stackDir: stack.stackDir });
    assert.equal(exitCode, 2);
    assert.match(stderr, new RegExp(`--user "${user}" must not be a reserved role`));
  });
}

test("names with quotes, dots, spaces and other scripts work from bootstrap to append", async () => {
  await using own = await makeTestStack();
  const [database, user] = [`my "db".v1's größe 注文🛒`, `o'neil "x".y ünïcode 🛒 $1`];
  const { stackDir } = own;
  const made = await runForData<BootstrapResult>(["bootstrap", "--database", database, "--user", user], { stackDir });
  assert.deepEqual([made.database, made.user], [database, user]);
  const application = await own.application();
  assert.deepEqual([application.database, application.user], [database, user]);
  await assertAppends(application);
  const again = await runForData<BootstrapResult>(["bootstrap"], { stackDir });
  assertUnchanged(again);
  assert.deepEqual([again.database, again.user], [database, user]);

  await using admin = openConnection(await own.administrator());
  await admin.sql.unsafe(`alter role "${user.replaceAll('"', '""')}" superuser connection limit 3`);
  const repaired = await runForData<BootstrapResult>(["bootstrap"], { stackDir });
  assert.equal(detailOf(repaired, "roles"), `repaired role ${user}`);
  const { env } = await runForData<{ env: Record<string, string> }>(["status", "--env"], { stackDir });
  assert.equal(env["DATABASE_URL"], connectionUrl(application));
});

function run(environment: Readonly<Record<string, string>> = {}): Promise<BootstrapResult> {
  const sources = {
    environment: { CQRS_STACK_DIR: stack.stackDir, ...environment },
    dotEnvFile: join(stack.stackDir, "no.env"),
  };
  return bootstrap(loadConfig({}, sources), silentRun);
}

async function administrator() {
  return openConnection({ ...(await stack.administrator()), database: "postgres" });
}

interface Sessions extends AsyncDisposable {
  /** One open connection per session. */
  readonly sqls: readonly Sql[];
}

/** Half of them in another database: databases share roles, but not advisory locks. */
async function openSessions(count: number): Promise<Sessions> {
  const target = await stack.administrator();
  const connections = Array.from({ length: count }, (_, index) =>
    openConnection(index % 2 === 0 ? target : { ...target, database: "postgres" }),
  );
  await Promise.all(connections.map(({ sql }) => sql`select 1`));
  return {
    sqls: connections.map(({ sql }) => sql),
    async [Symbol.asyncDispose]() {
      await Promise.all(connections.map((connection) => connection[Symbol.asyncDispose]()));
    },
  };
}
