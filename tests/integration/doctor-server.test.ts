import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { stopServer } from "../../scripts/lib/postgres/server/life-cycle.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import { startEmbeddedServer } from "../../scripts/lib/stack/embedded.ts";
import { findStack, openStack } from "../../scripts/lib/stack/stack.ts";
import { diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import { unusedPort } from "../support/port.ts";
import { whyUnavailable, withEarlierServer } from "../support/server-version.ts";
import { bootstrapTestStack, silentRun, type TestStack, testConfig, withCluster } from "../support/stack.ts";
import { presentCertificate } from "../support/tls-server.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
  await asAdministrator(async (sql) => {
    await sql.unsafe("create role boss login createrole createdb password 'secret'");
    await sql.unsafe("grant cqrs_owner, cqrs_app, cqrs_app_owner, cqrs_user to boss with admin option");
  });
});
after(() => stack[Symbol.asyncDispose]());

async function asAdministrator(work: (sql: Sql) => Promise<unknown>): Promise<void> {
  await using admin = openConnection(await stack.administrator());
  await work(admin.sql);
}

const refusals: readonly (readonly [id: string, what: string, damage: string, evidence: RegExp])[] = [
  [
    "password-refused",
    "whose password is another one",
    "alter role cqrs_user password 'an older one'",
    /the login cqrs_user exists$/,
  ],
  ["login-refused", "that has expired", "alter role cqrs_user valid until '2020-01-01'", /cqrs_user has expired$/],
  ["login-refused", "that may not log in", "alter role cqrs_user nologin", /28000.*cqrs_user may not log in$/],
  ["login-refused", "that is missing", "alter role cqrs_user rename to somebody", /login cqrs_user does not exist$/],
  [
    "login-refused",
    "without the privilege to connect",
    "revoke connect on database cqrs_db from public, cqrs_app, cqrs_user",
    /permission denied for database .*42501/,
  ],
];

for (const [id, what, damage, evidence] of refusals) {
  test(`a login ${what} is found, and --fix sets what the store has`, async () => {
    await asAdministrator((sql) => sql.unsafe(damage));
    const { cause } = await finds(id, { evidence, fix: /bootstrap/ }, stack);
    assert.equal(/keeps another one/.test(cause), id === "password-refused");
    await repair(stack);
    await asAdministrator((sql) => sql.unsafe("drop role if exists somebody"));
    await isHealthy(stack);
  });
}

test("a login that pg_hba.conf or a connection limit refuses is found, without a repair that would not help", async () => {
  const rules = join(stack.dataDir, "pg_hba.conf");
  const healthy = await readFile(rules, "utf8");
  const reload = () => asAdministrator((sql) => sql`select pg_reload_conf()`);
  await writeFile(rules, `host all cqrs_user 127.0.0.1/32 reject\n${healthy}`);
  await reload();
  await awaitFindings(["login-refused"]);
  const rejected = await finds("login-refused", { evidence: /pg_hba\.conf/, fix: /pg_hba\.conf/ }, stack);
  assert.equal(rejected.repair, undefined);
  await writeFile(rules, healthy);
  await reload();
  await awaitFindings([]);

  await asAdministrator((sql) => sql.unsafe("alter role cqrs_user connection limit 0"));
  const limited = await finds("login-refused", { evidence: /too many connections/, fix: /connection limits/ }, stack);
  assert.equal(limited.repair, undefined);
  await asAdministrator((sql) => sql.unsafe("alter role cqrs_user connection limit -1"));
  await isHealthy(stack);
});

test("a secret that is missing is found and written again; one that cannot be read is not taken for healthy", async () => {
  const secret = join(stack.stackDir, "secrets/secret");
  const aside = join(stack.stackDir, "aside");
  await rename(secret, aside);
  await finds("secrets-missing", { evidence: /never initialised, or it was emptied/, fix: /bootstrap/ }, stack);
  await repair(stack);
  await isHealthy(stack);
  await rm(aside, { recursive: true });

  const folder = join(secret, "cqrs-spike/database-local");
  const path = join(folder, (await readdir(folder)).toSorted().at(-1) ?? "");
  const content = await readFile(path, "utf8");
  for (const damage of ["{", "{}"]) {
    await writeFile(path, damage);
    await finds("check-failed", { evidence: /./, fix: /./ }, stack);
  }
  await writeFile(path, content);
  await isHealthy(stack);
});

test("a secret with another port than the server's is found, is not used, and --fix writes it again", async () => {
  await stopStack(await findStack(testConfig(stack.stackDir)), silentRun);
  const moved = await openStack(testConfig(stack.stackDir, { port: `${await unusedPort()}` }));
  // As a bootstrap that is killed before it writes the secret.
  await startEmbeddedServer(moved, { ...silentRun, step: async (_name, work) => void (await work()) });
  const evidence = /listens on port \d+, but the secret names port \d+/;
  await finds("secret-address-wrong", { evidence, fix: /bootstrap/ }, stack);
  await repair(stack);
  await isHealthy(stack);
});

test("a database that is missing is found, and the other areas are not checked", async () => {
  const place = { ...stack, name: "none_such" };
  await finds("database-missing", { evidence: /"none_such" does not exist/, fix: /restore latest.*bootstrap/ }, place);
  const { notChecked } = await diagnosePlace(place);
  assert.ok(notChecked.some(({ area }) => area === "sessions"));
});

for (const [where, set, reset] of [
  ["the server", "alter system set synchronous_commit = off", "alter system reset synchronous_commit"],
  [
    "the database",
    "alter database cqrs_db set synchronous_commit = off",
    "alter database cqrs_db reset synchronous_commit",
  ],
  ["a login", "alter role cqrs_user set synchronous_commit = off", "alter role cqrs_user reset synchronous_commit"],
] as const) {
  test(`synchronous_commit that is off for ${where} is found, and resetting it fixes it`, async () => {
    const change = async (statement: string) => {
      await asAdministrator(async (sql) => {
        await sql.unsafe(statement);
        await sql`select pg_reload_conf()`;
      });
    };
    await change(set);
    const evidence = /^synchronous_commit of the (server|database|login cqrs_user) is off: a crash/;
    await awaitFindings(["synchronous-commit-off"]);
    await finds("synchronous-commit-off", { evidence, fix: /reset synchronous_commit/ }, stack);
    await change(reset);
    await awaitFindings([]);
  });
}

/** The server reads its settings again some time after it was told to. */
async function awaitFindings(ids: readonly string[]): Promise<void> {
  const isReached = async () => {
    const { findings } = await diagnosePlace(stack);
    return JSON.stringify(findings.map(({ id }) => id)) === JSON.stringify(ids) || undefined;
  };
  assert.ok(await pollUntil(isReached, { timeoutMs: 20_000, intervalMs: 10 }), `it finds ${ids}`);
}

interface External extends AsyncDisposable {
  readonly stackDir: string;
  readonly env: { readonly DATABASE_URL: string };
}

/** A stack that uses the server as an external one, with an administrator who is no superuser. */
async function externalStack(): Promise<External> {
  const stackDir = await mkdtemp(join(tmpdir(), "cqrs-external-"));
  const boss = { ...(await stack.administrator()), database: "postgres", user: "boss", password: "secret" };
  const env = { DATABASE_URL: connectionUrl(boss) };
  await bootstrap(testConfig(stackDir, { mode: "external", user: "other" }, env), silentRun);
  return { stackDir, env, [Symbol.asyncDispose]: () => rm(stackDir, { recursive: true }) };
}

test("an external server: another one, none, one without TLS, and one whose TLS is not used are told apart", async () => {
  await using place = await externalStack();
  await isHealthy(place);

  await using other = await withCluster();
  const wrong = connectionUrl({ ...(await other.administrator()), database: "postgres" });
  const elsewhere = { ...place, name: "cqrs_db", env: { DATABASE_URL: wrong } };
  const evidence = /the server has the system identifier \d+; the last bootstrap set up \d+/;
  await finds("other-server", { evidence, fix: /Correct DATABASE_URL/ }, elsewhere);
  const { notChecked } = await diagnosePlace(elsewhere);
  assert.ok(
    notChecked.some(({ area, reason }) => area === "credentials" && reason.startsWith("the credentials are not")),
  );

  const closed = { DATABASE_URL: wrong.replace(/:\d+\//, `:${await unusedPort()}/`) };
  await finds("server-unreachable", { evidence: /ECONNREFUSED/, fix: /host and port/ }, { ...place, env: closed });
  await finds(
    "server-unusable",
    { evidence: /^None of CQRS_ADMIN_URL, DATABASE_URL and PGHOST/, fix: /Set CQRS_ADMIN_URL/ },
    { ...place, env: {} },
  );
  const password = { DATABASE_URL: place.env.DATABASE_URL.replace(/:[^:@]+@/, ":wrong@") };
  await finds(
    "server-unusable",
    { evidence: /password authentication failed/, fix: /PGPASSWORD/ },
    { ...place, env: password },
  );
  const demanding = { ...place, env: { ...place.env, PGSSLMODE: "require" } };
  await finds("server-unusable", { evidence: /TLS|SSL/i, fix: /./ }, demanding);

  await presentCertificate(stack, "self-signed");
  const plain = { ...place, env: { DATABASE_URL: `${place.env.DATABASE_URL}?sslmode=disable` } };
  await finds("tls-unused", { evidence: /ssl is on/, fix: /sslmode=require/ }, plain);
  await isHealthy({ ...place, env: { DATABASE_URL: `${place.env.DATABASE_URL}?sslmode=require` } });
  await presentCertificate(stack, "none");
  await isHealthy(plain);
});

test("--fix changes nothing on another server, also if it became another one since the diagnosis", async () => {
  await using place = await externalStack();
  await using other = await withCluster();
  await using admin = openConnection({ ...(await other.administrator()), database: "postgres" });
  await admin.sql.unsafe("create database empty");
  const env = { DATABASE_URL: connectionUrl({ ...(await other.administrator()), database: "postgres" }) };
  const elsewhere = { ...place, name: "empty", env };
  const { findings } = await diagnosePlace(elsewhere);
  assert.deepEqual(
    findings.map(({ id, repair }) => [id, repair]),
    [
      ["other-server", undefined],
      ["migrations-pending", undefined],
    ],
  );

  const expected = { evidence: /0001-/, fix: /schema apply/ };
  const pending = await finds("migrations-pending", expected, elsewhere, { areas: ["schema"] });
  assert.ok(pending.repair);
  await assert.rejects(pending.repair.run(), /Nothing was changed, because the server has the system identifier/);
  await using empty = openConnection({ ...(await other.administrator()), database: "empty" });
  assert.equal((await empty.sql`select from pg_namespace where nspname = 'event_store'`).length, 0);
});

test("an external stack whose state is damaged is not turned into an embedded one", async () => {
  await using place = await externalStack();
  const file = join(place.stackDir, "state.json");
  const state = await readFile(file, "utf8");
  await writeFile(file, state.slice(0, 20));
  const found = await finds("state-unreadable", { evidence: /./, fix: /bootstrap with the --mode/ }, place);
  assert.equal(found.repair, undefined);
  await writeFile(file, state);
  await isHealthy(place);
});

test("an external server that is older than PostgreSQL 16 is found", { skip: whyUnavailable(15) }, async () => {
  await using server = await withEarlierServer(15);
  await using place = await externalStack();
  const env = { DATABASE_URL: connectionUrl(server.administrator) };
  const expected = { evidence: /PostgreSQL 16 or newer is required/, fix: /Upgrade the server/ };
  const { cause } = await finds("server-unsupported", expected, { ...place, name: "postgres_15", env });
  assert.match(cause, /^The server is PostgreSQL 15\.\d+\.$/);
  await isHealthy(place);
});

test("a standby is found, and is healthy once it is promoted and its log has a new epoch", async () => {
  await stopServer(stack.dataDir, { timeoutMs: 60_000 });
  await writeFile(join(stack.dataDir, "standby.signal"), "", { mode: 0o600 });
  const opened = await openStack(testConfig(stack.stackDir));
  await startEmbeddedServer(opened, { ...silentRun, step: async (_name, work) => void (await work()) });
  await finds("standby", { evidence: /pg_is_in_recovery/, fix: /pg_promote.*begin_epoch/ }, stack);
  await asAdministrator(async (sql) => {
    await sql`select pg_promote()`;
  });
  const expected = { evidence: /the timeline is 2, but the log's epoch began on 1/, fix: /begin_epoch/ };
  await finds("epoch-unreported", expected, stack);
  await asAdministrator((sql) => sql`select event_store.begin_epoch('promoted')`);
  await bootstrapTestStack(stack.stackDir);
  await isHealthy(stack);
});
