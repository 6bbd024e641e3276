import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadConfig } from "../../scripts/lib/config.ts";
import { type ConnectionTarget, connect, connectionUrl, type Sql } from "../../scripts/lib/postgres/connect.ts";
import { ensureDatabase, searchPath } from "../../scripts/lib/postgres/database.ts";
import { reconcilePassword } from "../../scripts/lib/postgres/login.ts";
import { ensureRoles, groupRoles } from "../../scripts/lib/postgres/roles.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";
import { type BootstrapResult, bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import { runForData, runScript, type ScriptRun } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { makeTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";

const superuser = { name: "postgres", isSuperuser: true };

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

/** What somebody did to the roles or the database, and what the repair reports. */
const damages: readonly (readonly [string, string, RegExp])[] = [
  ["the login a superuser", "alter role cqrs_user superuser", /^repaired role cqrs_user$/],
  ["the login a maker of roles", "alter role cqrs_user createrole", /^repaired role cqrs_user$/],
  ["the login a maker of databases", "alter role cqrs_user createdb", /^repaired role cqrs_user$/],
  [
    "the login one that replicates and sees all rows",
    "alter role cqrs_user replication bypassrls",
    /^repaired role cqrs_user$/,
  ],
  ["the login one that can't log in", "alter role cqrs_user nologin", /^repaired role cqrs_user$/],
  ["the login expired", "alter role cqrs_user valid until '2001-01-01'", /^repaired role cqrs_user$/],
  ["the login without connections", "alter role cqrs_user connection limit 0", /^repaired role cqrs_user$/],
  ["the login one that inherits nothing", "alter role cqrs_user noinherit", /^repaired role cqrs_user$/],
  ["the login without its settings", "alter role cqrs_user reset all", /^repaired role cqrs_user$/],
  ["the login start as nobody", "alter role cqrs_user set role = none", /^repaired role cqrs_user$/],
  ["the login no member of cqrs_app", "revoke cqrs_app from cqrs_user", /^made cqrs_user a member of cqrs_app$/],
  [
    "the login unable to act as cqrs_app",
    "grant cqrs_app to cqrs_user with set false",
    /^made cqrs_user a member of cqrs_app$/,
  ],
  ["the login a member of cqrs_owner", "grant cqrs_owner to cqrs_user", /^revoked cqrs_owner from cqrs_user$/],
  [
    "cqrs_app a member of cqrs_owner",
    "grant cqrs_owner to cqrs_app with admin option",
    /^revoked cqrs_owner from cqrs_app$/,
  ],
  ["cqrs_app a login", "alter role cqrs_app login", /^repaired role cqrs_app$/],
  ["cqrs_owner a superuser that logs in", "alter role cqrs_owner superuser login", /^repaired role cqrs_owner$/],
  ["the database another's", "alter database cqrs_db owner to postgres", /^repaired database cqrs_db$/],
  [
    "the database's search path another",
    "alter database cqrs_db set search_path = event_store",
    /^repaired database cqrs_db$/,
  ],
  ["the database without its settings", "alter database cqrs_db reset all", /^repaired database cqrs_db$/],
  ["the database open to everybody", "grant connect on database cqrs_db to public", /^repaired database cqrs_db$/],
  [
    "the database one where everybody makes schemas",
    "grant create on database cqrs_db to public",
    /^repaired database cqrs_db$/,
  ],
  [
    "the database closed to the application",
    "revoke all on database cqrs_db from cqrs_app",
    /^repaired database cqrs_db$/,
  ],
];

for (const [what, statement, reports] of damages) {
  test(`bootstrap() repairs and reports it when somebody made ${what}`, async () => {
    await using admin = await administrator();
    const before = await readFacts(admin.sql);
    await admin.sql.unsafe(statement);
    assert.notDeepEqual(await readFacts(admin.sql), before);
    const result = await run();
    assert.ok(result.isChanged);
    assert.match(detailOf(result, reports.source.includes("database") ? "database" : "roles"), reports);
    assert.deepEqual(await readFacts(admin.sql), before);
    await assertAppends(await stack.application());
    assertUnchanged(await run());
  });
}

test("bootstrap() revokes cqrs_owner from the login whoever granted it", async () => {
  await using admin = await administrator();
  await admin.sql
    .unsafe(`
    create role another nologin;
    grant cqrs_owner to another with admin option;
    grant cqrs_owner to cqrs_user granted by another`)
    .simple();
  const result = await run();
  assert.equal(detailOf(result, "roles"), "revoked cqrs_owner from cqrs_user");
  assert.deepEqual((await readFacts(admin.sql)).memberships, ["cqrs_app to cqrs_user", "cqrs_owner to another"]);
  await admin.sql.unsafe("drop role another");
});

test("bootstrap() makes roles that are gone", async () => {
  await using admin = await administrator();
  await admin.sql.unsafe("drop role cqrs_user");
  const result = await run();
  assert.equal(detailOf(result, "roles"), "created role cqrs_user, made cqrs_user a member of cqrs_app");
  await assertAppends(await stack.application());
});

test("bootstrap() reports nothing changed when all is as it should be", async () => {
  assertUnchanged(await run());
  const { stdout } = await runScript(["bootstrap"], { stackDir: stack.stackDir });
  assert.match(stdout, /^ready \(nothing to change\) {2}postgres:\/\/cqrs_user:\*\*\*\*@/);
});

test("bootstrap() sets the password of the secret when somebody set another, or none, or an md5 one", async () => {
  await using admin = await administrator();
  for (const password of ["'another'", "null", `'md5${"0".repeat(32)}'`]) {
    await admin.sql.unsafe(`alter role cqrs_user password ${password}`);
    assert.equal(detailOf(await run(), "credentials"), "set cqrs_user's password");
    await assertAppends(await stack.application());
  }
});

test("bootstrap() follows a password that was changed in the secret store", async () => {
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

test("bootstrap() prefers the password of the configuration, stores it, and keeps it when it is given no more", async () => {
  const given = `pass word'"\\@:/?#[]%$1`;
  const result = await run({ POSTGRES_PASSWORD: given });
  assert.equal(detailOf(result, "credentials"), "wrote the secret, set cqrs_user's password");
  assertUnchanged(await run());
  const application = await stack.application();
  assert.equal(application.password, given);
  await assertAppends(application);
});

test("ensureRoles() by 8 sessions at once repairs a role, and reconcilePassword() its password", async () => {
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

test("ensureDatabase() by 8 sessions at once makes and repairs a database", async () => {
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
    await assertNoSecrets(ran, [password]);
  }
});

for (const user of ["postgres", "cqrs_owner", "cqrs_app", "pg_monitor"]) {
  test(`bootstrap() refuses ${user} for the application's login`, async () => {
    const { exitCode, stderr } = await runScript(["bootstrap", "--user", user], { stackDir: stack.stackDir });
    assert.equal(exitCode, 2);
    assert.match(stderr, /--user \(POSTGRES_USER\) must be a login of the application's own/);
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

  await using admin = connect(await own.administrator());
  await admin.sql.unsafe(`alter role "${user.replaceAll('"', '""')}" superuser connection limit 3`);
  const repaired = await runForData<BootstrapResult>(["bootstrap"], { stackDir });
  assert.equal(detailOf(repaired, "roles"), `repaired role ${user}`);
  const { env } = await runForData<{ env: Record<string, string> }>(["status", "--env"], { stackDir });
  assert.equal(env["DATABASE_URL"], connectionUrl(application));
});

test("an administrator without superuser bootstraps a server by --mode external, and all of it works", async () => {
  await using server = await withBareCluster();
  const first = await runForData<BootstrapResult>(words, server.options);
  assert.deepEqual([first.mode, first.isChanged], ["external", true]);
  const application = await server.application();
  await assertAppends(application);
  assertUnchanged(await runForData<BootstrapResult>(words, server.options));

  // The mode, the database and the login are remembered; only the address is not.
  assertUnchanged(await runForData<BootstrapResult>(["bootstrap"], server.options));
  const status = await runForData<{ pending: string[] }>(["schema", "status"], server.options);
  assert.deepEqual(status.pending, []);
  assert.deepEqual((await runForData<{ applied: string[] }>(["schema", "apply"], server.options)).applied, []);

  await using admin = connect(server.superuser);
  const { roles } = await readFacts(admin.sql);
  assert.ok(roles.includes("ext user login inherit -1 infinity {role=cqrs_app}"), roles.join("\n"));
  const [row] = await admin.sql`
    select datdba::regrole::text as owner from pg_database where datname = ${application.database}`;
  assert.equal(row?.["owner"], groupRoles.owner);
});

test("an administrator without superuser repairs what was damaged, and follows the secret", async () => {
  await using server = await withBareCluster();
  await runForData<BootstrapResult>(words, server.options);
  await using admin = connect(server.superuser);
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
    "repaired role ext user, made ext user a member of cqrs_app, revoked cqrs_owner from ext user",
  );
  assert.equal(detailOf(repaired, "database"), "repaired database ext.db ü");
  assert.equal(detailOf(repaired, "credentials"), "set ext user's password");
  assert.deepEqual(await readFacts(admin.sql), before);
  await assertAppends(await server.application());
});

test("an external administrator that may not do it is told what is missing", async () => {
  await using server = await withBareCluster();
  await using admin = connect(server.superuser);
  await admin.sql.unsafe(`alter role "boss@ü" nocreatedb`);
  const withoutDatabase = await runScript(words, server.options);
  assert.equal(withoutDatabase.exitCode, 9, withoutDatabase.stderr);
  assert.match(withoutDatabase.stderr, /^error: boss@ü may not set up the roles and the database$/m);
  assert.match(withoutDatabase.stderr, /^ {2}why: permission denied to create database$/m);

  await admin.sql.unsafe(`create role "somebody else" login createrole createdb password 'abc'`);
  const url = connectionUrl({ ...server.superuser, user: "somebody else", password: "abc" });
  const withoutRoles = await runScript(words, { ...server.options, env: { DATABASE_URL: url } });
  assert.equal(withoutRoles.exitCode, 9, withoutRoles.stderr);
  assert.match(withoutRoles.stderr, /^ {2}fix: .*grant cqrs_owner, cqrs_app to "somebody else" with admin option;$/m);
});

test("an external administrator's own name is refused for the application's login", async () => {
  await using server = await withBareCluster();
  const ran = await runScript([...words.slice(0, -1), "boss@ü"], server.options);
  assert.equal(ran.exitCode, 2);
  assert.match(ran.stderr, /^error: boss@ü can't be both the administrator and the application's login$/m);
});

test("a wrong password of the external administrator ends with exit code 6 and a masked URL", async () => {
  await using folder = await withFolder();
  const target = { ...(await stack.administrator()), password: "wrong/p@ss" };
  const env = { DATABASE_URL: connectionUrl(target) };
  for (const script of [
    ["bootstrap", "--mode", "external"],
    ["schema", "status", "--mode", "external"],
  ]) {
    const ran = await runScript(script, { stackDir: folder.dir, env });
    assert.equal(ran.exitCode, 6, ran.stderr);
    assert.ok(ran.stderr.includes(`PostgreSQL refuses the login postgres://postgres:****@127.0.0.1:${target.port}/`));
    await assertNoSecrets(ran, ["wrong/p@ss", "wrong%2Fp%40ss"]);
  }
});

test("an external server that can't be reached ends with exit code 3 and a masked URL", async () => {
  await using folder = await withFolder();
  const port = await unusedPort();
  const env = { DATABASE_URL: `postgres://boss:s3cr3t-w0rd@127.0.0.1:${port}/x` };
  const ran = await runScript(["bootstrap", "--mode", "external"], { stackDir: folder.dir, env });
  assert.equal(ran.exitCode, 3, ran.stderr);
  assert.match(ran.stderr, /^error: Can't use postgres:\/\/boss:\*\*\*\*@127\.0\.0\.1:\d+\/x$/m);
  assert.match(ran.stderr, /ECONNREFUSED/);
  await assertNoSecrets(ran, ["s3cr3t-w0rd"]);
});

test("schema apply on a server that no bootstrap has prepared ends with exit code 3 and says what is missing", async () => {
  await using server = await withBareCluster();
  const ran = await runScript(["schema", "apply", "--mode", "external", "--database", "template1"], server.options);
  assert.equal(ran.exitCode, 2, "a database of every server's is not ours");
  await using admin = connect(server.superuser);
  await admin.sql`create database unprepared`;
  const unprepared = await runScript(
    ["schema", "apply", "--mode", "external", "--database", "unprepared"],
    server.options,
  );
  assert.equal(unprepared.exitCode, 3, unprepared.stderr);
  assert.match(unprepared.stderr, /role "cqrs_owner" does not exist/);
  assert.match(unprepared.stderr, /fix: bun run bootstrap/);
});

test("DATABASE_URL names the database that is made, unless it is one for administrators", async () => {
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

test("an external server that nobody named ends with exit code 2", async () => {
  await using folder = await withFolder();
  const ran = await runScript(["bootstrap", "--mode", "external"], { stackDir: folder.dir });
  assert.equal(ran.exitCode, 2);
  assert.match(ran.stderr, /^error: The external server is not named$/m);
});

const words = ["bootstrap", "--mode", "external", "--database", "ext.db ü", "--user", "ext user"];

interface BareCluster extends AsyncDisposable {
  readonly superuser: ConnectionTarget;
  /** Of a stack directory that has no server of its own. */
  readonly options: { readonly stackDir: string; readonly env: Readonly<Record<string, string>> };
  application(): Promise<ConnectionTarget & { readonly password: string }>;
}

/** A cluster as somebody else runs it: without our roles and database, with an administrator that is no superuser. */
async function withBareCluster(): Promise<BareCluster> {
  const cluster = await withCluster();
  const folder = await withFolder();
  const superuser = { ...(await cluster.administrator()), database: "postgres" };
  const boss = { ...superuser, user: "boss@ü", password: generatePassword() };
  await using admin = connect(superuser);
  for (const statement of [
    "drop database cqrs_db",
    "drop role cqrs_user, cqrs_app, cqrs_owner",
    `create role "boss@ü" login createrole createdb password '${boss.password}'`,
  ]) {
    await admin.sql.unsafe(statement);
  }
  return {
    superuser,
    options: { stackDir: folder.dir, env: { DATABASE_URL: connectionUrl(boss) } },
    async application() {
      await using store = new FileSecretStore(join(folder.dir, "secrets"));
      const { username = "", password = "", database = "" } = (await store.read(secretPaths.application))?.data ?? {};
      return { ...superuser, user: username, password, database };
    },
    async [Symbol.asyncDispose]() {
      await cluster[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function withFolder(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-external-"));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

/** A port that was free a moment ago, so that nobody listens on it. */
async function unusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function run(environment: Readonly<Record<string, string>> = {}): Promise<BootstrapResult> {
  const sources = {
    environment: { CQRS_STACK_DIR: stack.stackDir, ...environment },
    dotEnvFile: join(stack.stackDir, "no.env"),
  };
  return bootstrap(loadConfig({}, sources), silentRun);
}

async function administrator() {
  return connect({ ...(await stack.administrator()), database: "postgres" });
}

interface Sessions extends AsyncDisposable {
  /** One connection each, open already. */
  readonly sqls: readonly Sql[];
}

/** Half of them in one database, half in another: roles and databases are shared by all, advisory locks are not. */
async function openSessions(count: number): Promise<Sessions> {
  const target = await stack.administrator();
  const connections = Array.from({ length: count }, (_, index) =>
    connect(index % 2 === 0 ? target : { ...target, database: "postgres" }),
  );
  await Promise.all(connections.map(({ sql }) => sql`select 1`));
  return {
    sqls: connections.map(({ sql }) => sql),
    async [Symbol.asyncDispose]() {
      await Promise.all(connections.map((connection) => connection[Symbol.asyncDispose]()));
    },
  };
}

function detailOf({ steps }: BootstrapResult, name: string): string {
  return steps.find((step) => step.name === name)?.detail ?? "";
}

function assertUnchanged({ isChanged, steps }: BootstrapResult): void {
  const changed = steps.filter((step) => step.isChanged).map(({ name, detail }) => `${name}: ${detail}`);
  assert.deepEqual([isChanged, changed], [false, []]);
}

/** Does what an application does, with nothing but its own login. */
async function assertAppends(target: ConnectionTarget): Promise<void> {
  await using connection = connect(target);
  const [row] = await connection.sql`
    select current_user::text as role, session_user::text as login, current_setting('search_path') as path,
      event_store.append_events('Order', ${randomUUID()}, 0, array['{"event_type":"A","event_data":{}}']::jsonb[]) is not null
        as "isAppended"`;
  assert.deepEqual({ ...row }, { role: groupRoles.app, login: target.user, path: searchPath, isAppended: true });
}

async function assertNoSecrets({ stdout, stderr }: ScriptRun, secrets: readonly string[]): Promise<void> {
  for (const secret of secrets) assert.ok(!`${stdout}${stderr}`.includes(secret), "a password was printed");
}

interface Facts {
  readonly roles: readonly string[];
  readonly memberships: readonly string[];
  readonly databases: readonly string[];
}

/** Everything about the cluster's roles and databases that an application depends on. */
async function readFacts(sql: Sql): Promise<Facts> {
  const roles = await sql<{ fact: string }[]>`
    select concat_ws(' ', rolname,
      case when rolsuper then 'superuser' end, case when rolcreaterole then 'createrole' end,
      case when rolcreatedb then 'createdb' end, case when rolcanlogin then 'login' end,
      case when rolreplication then 'replication' end, case when rolbypassrls then 'bypassrls' end,
      case when rolinherit then 'inherit' end, rolconnlimit, coalesce(rolvaliduntil, 'infinity'), rolconfig) as fact
    from pg_roles where rolname not like 'pg\_%' order by rolname`;
  const memberships = await sql<{ fact: string }[]>`
    select concat_ws(' ', pg_get_userbyid(roleid), 'to', pg_get_userbyid(member),
      case when not inherit_option then 'inherit false' end, case when not set_option then 'set false' end) as fact
    from pg_auth_members where pg_get_userbyid(roleid) not like 'pg\_%' order by 1`;
  const databases = await sql<{ fact: string }[]>`
    select concat_ws(' ', datname, pg_get_userbyid(datdba),
      (select setconfig from pg_db_role_setting where setdatabase = oid and setrole = 0),
      (select array_agg(distinct coalesce(nullif(grantee, 0)::regrole::text, 'public') || ' ' || privilege_type)
        from aclexplode(datacl))) as fact
    from pg_database where not datistemplate order by datname`;
  const texts = (rows: readonly { fact: string }[]) => rows.map(({ fact }) => fact);
  return { roles: texts(roles), memberships: texts(memberships), databases: texts(databases) };
}
