import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, type TestStack, withCluster } from "../support/stack.ts";

let cluster: TestStack;
before(async () => {
  cluster = await withCluster();
});
after(() => cluster?.[Symbol.asyncDispose]());

async function asSuperuser<Result>(statements: string): Promise<readonly Result[]> {
  await using connection = openConnection({ ...(await cluster.administrator()), database: "postgres" });
  return (await connection.sql.unsafe(statements)) as unknown as readonly Result[];
}

/** The databases and roles that initdb has not made. */
async function listAll(): Promise<readonly string[]> {
  const rows = await asSuperuser<{ name: string }>(`
    select datname::text as name from pg_database where not datistemplate and datname <> 'postgres'
    union all select rolname::text from pg_roles where rolname !~ '^pg_' and rolname <> 'postgres'
    order by 1`);
  return rows.map(({ name }) => name);
}

beforeEach(async () => {
  for (const name of await listAll()) {
    const [isDatabase] = await asSuperuser(`select from pg_database where datname = '${name}'`);
    if (isDatabase !== undefined) await asSuperuser(`drop database "${name}" with (force)`);
  }
  for (const name of await listAll()) await asSuperuser(`drop role "${name}"`);
});

interface Names {
  readonly database: string;
  readonly user?: string;
}

/** Bootstraps from the folder of a stack, with an administrator who is not a superuser unless told otherwise. */
async function bootstrap(folder: TestStack, { database, user }: Names) {
  const administrator = { ...(await cluster.administrator()), database: "postgres" };
  const env = { DATABASE_URL: connectionUrl(administrator) };
  const names = ["--database", database, ...(user === undefined ? [] : ["--user", user])];
  return { words: ["bootstrap", "--mode", "external", ...names], options: { ...folder, env } };
}

async function succeeds(folder: TestStack, names: Names): Promise<BootstrapResult> {
  const { words, options } = await bootstrap(folder, names);
  return runForData<BootstrapResult>([...words, "--yes"], options);
}

async function isRefused(folder: TestStack, names: Names, why: RegExp): Promise<void> {
  const { words, options } = await bootstrap(folder, names);
  const before = await listAll();
  const ran = await runScript([...words, "--yes", "--json"], options);
  assert.equal(ran.exitCode, 8, ran.stdout);
  const { error } = JSON.parse(ran.stdout);
  assert.equal(error.code, "OTHER_STACK");
  assert.match(error.message, new RegExp(`another stack, whose logins could read and write ${names.database}$`));
  assert.match(error.why, why);
  assert.match(error.fix, /^Use a server of its own/);
  assert.deepEqual(await listAll(), before, "nothing was made");
}

test("a second stack on an external server is refused, whatever its login", async () => {
  await using first = await makeTestStack();
  await using second = await makeTestStack();
  await succeeds(first, { database: "shop_a", user: "a_user" });
  await isRefused(
    second,
    { database: "shop_b", user: "b_user" },
    /^Its database: shop_a\. Members of cqrs_app: a_user\./,
  );
  await isRefused(second, { database: "shop_b", user: "a_user" }, /^Its database: shop_a\. The role/);
  await isRefused(first, { database: "shop_b", user: "b_user" }, /shop_a/);
  await asSuperuser("create database shop_b");
  await isRefused(second, { database: "shop_b", user: "b_user" }, /shop_a/);
});

test("the login of a stack whose database is gone is named; once it is dropped, another stack may follow", async () => {
  await using first = await makeTestStack();
  await using second = await makeTestStack();
  await succeeds(first, { database: "shop_a", user: "a_user" });
  await asSuperuser("drop database shop_a");
  await isRefused(second, { database: "shop_b" }, /^Members of cqrs_app: a_user\. The role/);
  await asSuperuser("drop role a_user");
  await succeeds(second, { database: "shop_b" });
});

test("a stack is set up again from its folder, after a rotation, and with more databases", async () => {
  await using first = await makeTestStack();
  await succeeds(first, { database: "shop_a", user: "a_user" });
  const { options } = await bootstrap(first, { database: "shop_a" });
  await runForData(["secrets", "rotate"], options);
  await asSuperuser("create role reporting login; grant cqrs_app to reporting");
  assert.equal((await succeeds(first, { database: "shop_a", user: "a_user" })).user, "a_user_b");
  await succeeds(first, { database: "shop_a_archive", user: "a_user" });
});

test("a database that this folder has not set up is taken over only after a question", async () => {
  await using first = await makeTestStack();
  await using second = await makeTestStack();
  for (const names of [{ database: "cqrs_db" }, { database: "cqrs_db", user: "c_user" }]) {
    if (names.user === undefined) await succeeds(first, names);
    const { words, options } = await bootstrap(second, names);
    const refused = await runScript(words, options);
    assert.equal(refused.exitCode, 8, refused.stderr);
    assert.match(refused.stderr, /^error: Nothing was changed on the server$/m);
    assert.match(refused.stderr, /takes over cqrs_db, which this folder has not set up/);
    assert.match(refused.stderr, / --yes$/m);
  }
  const { words, options } = await bootstrap(first, { database: "cqrs_db" });
  assert.equal((await runForData<BootstrapResult>(words, options)).isChanged, false, "the first one kept its login");
  const { words: take, options: there } = await bootstrap(second, { database: "cqrs_db" });
  await runForData([...take, "--yes"], there);
  await succeeds(second, { database: "cqrs_db" });
  await succeeds(second, { database: "cqrs_archive" });
});

test("a stack that lost its state is known by its secret, and one without both has a way out", async () => {
  await using first = await makeTestStack();
  await using second = await makeTestStack();
  await succeeds(first, { database: "shop_a", user: "a_user" });
  await rm(join(first.stackDir, "state.json"));
  await succeeds(first, { database: "shop_a", user: "a_user" });
  const { words, options } = await bootstrap(second, { database: "shop_new", user: "a_user" });
  const refused = await runScript(words, options);
  assert.match(refused.stderr, /If its folder is gone, run .*bootstrap --database shop_a --user a_user --yes here/);
  const { words: take, options: there } = await bootstrap(second, { database: "shop_a", user: "a_user" });
  await runForData([...take, "--yes"], there);
  await runForData([...words, "--yes"], options);
});

test("of two concurrent bootstraps of an empty server, one is refused", async () => {
  await using first = await makeTestStack();
  await using second = await makeTestStack();
  const one = await bootstrap(first, { database: "r1_db", user: "r1" });
  const two = await bootstrap(second, { database: "r2_db", user: "r2" });
  const ran = await Promise.all([runScript(one.words, one.options), runScript(two.words, two.options)]);
  assert.deepEqual(ran.map(({ exitCode }) => exitCode).toSorted(), [0, 8]);
  const databases = (await listAll()).filter((name) => /^r\d_db$/.test(name));
  assert.equal(databases.length, 1);
});
