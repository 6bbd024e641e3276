import assert from "node:assert/strict";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { type RunOptions, runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, sharedStack, type TestStack, withCluster } from "../support/stack.ts";
import { administratorOf, shareVault, vaultTest } from "../support/vault.ts";

const emptyVault = shareVault();

test("bootstrap and secrets init ask before applications get another database or login", async () => {
  await using stack = await withCluster();
  const before = await filesOf(stack);
  const { stackDir } = stack;
  const cases: readonly (readonly [words: string[], env: Record<string, string>, plan: RegExp])[] = [
    [
      ["bootstrap", "--database", "x y"],
      {},
      /re-points applications from the database cqrs_db to x y\n.*keeps: cqrs_db/,
    ],
    [["bootstrap", "--user", "other"], {}, /re-points applications from the login cqrs_user to other\n/],
    [["bootstrap"], { POSTGRES_DB: "other" }, /from the database cqrs_db to other\n/],
    [["bootstrap"], { POSTGRES_USER: "other" }, /commands use the database cqrs_db as other\n/],
    [["secrets", "init", "--database", "other"], {}, /from the database cqrs_db to other\n/],
  ];
  for (const [words, env, plan] of cases) {
    const refused = await runScript(words, { stackDir, env });
    assert.equal(refused.exitCode, 8, words.join(" "));
    assert.match(refused.stderr, /^error: Nothing was changed$/m);
    assert.match(refused.stderr, plan);
    assert.match(refused.stderr, / --yes$/m);
  }
  assert.deepEqual(await filesOf(stack), before);
  assert.deepEqual(await databasesOf(stack), ["cqrs_db"]);

  const done = await runForData<BootstrapResult>(["bootstrap", "--database", "x y", "--yes"], { stackDir });
  assert.equal(done.database, "x y");
  assert.equal((await stack.application()).database, "x y");
  await runForData(["bootstrap"], { stackDir, env: { POSTGRES_DB: "x y" } });
});

test("bootstrap asks if the state was lost and the secret names another database", async () => {
  await using stack = await withCluster();
  await runForData(["bootstrap", "--database", "orders", "--yes"], stack);
  await rm(join(stack.stackDir, "state.json"));
  const refused = await runScript(["bootstrap"], stack);
  assert.equal(refused.exitCode, 8, refused.stderr);
  assert.match(refused.stderr, /from the database orders to cqrs_db\n/);
  await runForData(["bootstrap", "--database", "orders"], stack);
});

test("the first bootstrap never asks, a rotated login is no other one, and destroy starts over", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap", "--database", "first", "--user", "someone"], stack);
  await runForData(["secrets", "rotate"], stack);
  await runForData(["bootstrap", "--user", "someone"], stack);
  await runForData(["destroy", "--yes"], stack);
  await runForData(["bootstrap", "--database", "second"], stack);
});

test("DATABASE_URL with another database asks too", async () => {
  await using server = await sharedStack();
  await using stack = await makeTestStack();
  const on = async (database: string): Promise<RunOptions> => {
    const url = connectionUrl({ ...(await server.administrator()), database });
    return { stackDir: stack.stackDir, env: { CQRS_MODE: "external", DATABASE_URL: url, POSTGRES_USER: "repointed" } };
  };
  await runForData(["bootstrap", "--yes"], await on("cqrs_db"));
  const refused = await runScript(["bootstrap"], await on("repoint_two"));
  assert.equal(refused.exitCode, 8, refused.stderr);
  assert.match(refused.stderr, /from the database cqrs_db to repoint_two\n/);
});

test("an external stack asks before its applications get another server, and if its state was lost", async () => {
  await using server = await sharedStack();
  await using stack = await makeTestStack();
  const { stackDir } = stack;
  const administrator = { ...(await server.administrator()), database: "postgres" };
  const on = (host: string): RunOptions => {
    const url = connectionUrl({ ...administrator, host });
    return { stackDir, env: { DATABASE_URL: url, POSTGRES_USER: "repointed" } };
  };
  const external = ["bootstrap", "--mode", "external", "--database", "cqrs_db"];
  await runForData([...external, "--yes"], on("127.0.0.1"));
  await runForData(external, on("127.0.0.1"));
  const isRefused = async (words: readonly string[], options: RunOptions, plan: RegExp) => {
    const refused = await runScript(words, options);
    assert.equal(refused.exitCode, 8, refused.stderr);
    assert.match(refused.stderr, plan);
  };
  const fromServer = new RegExp(`re-points applications from the server 127\\.0\\.0\\.1:${administrator.port} to`);
  await isRefused(external, on("localhost"), fromServer);
  await isRefused(["bootstrap", "--mode", "embedded"], { ...on("127.0.0.1") }, fromServer);
  await rm(join(stackDir, "state.json"));
  await isRefused(["bootstrap"], on("127.0.0.1"), fromServer);
  const other = ["bootstrap", "--mode", "external", "--database", "repoint_two"];
  await isRefused(other, on("127.0.0.1"), /from the database cqrs_db to repoint_two\n/);
});

vaultTest("bootstrap and secrets init ask before another folder takes over a secret in Vault", async () => {
  const vault = await emptyVault();
  await using first = await makeTestStack();
  await using second = await makeTestStack();
  const env = administratorOf(vault);
  const { port } = await runForData<BootstrapResult>(["bootstrap"], { ...first, env });
  const fromServer = new RegExp(`re-points applications from the server 127\\.0\\.0\\.1:${port} to`);
  for (const words of [["bootstrap"], ["bootstrap", "--database", "other_db"], ["secrets", "init"]]) {
    const refused = await runScript(words, { ...second, env });
    assert.equal(refused.exitCode, 8, refused.stderr);
    assert.match(refused.stderr, fromServer);
  }
  await runForData(["bootstrap"], { ...first, env });
  await runForData(["destroy", "--yes"], { ...first, env });
  await runForData(["bootstrap", "--database", "again"], { ...first, env });
  await runForData(["bootstrap", "--yes"], { ...second, env });
});

async function filesOf({ stackDir }: TestStack): Promise<unknown> {
  const secrets = await readdir(join(stackDir, "secrets"), { recursive: true });
  return [secrets.toSorted(), await readFile(join(stackDir, "state.json"), "utf8")];
}

async function databasesOf(stack: TestStack): Promise<unknown> {
  await using connection = openConnection(await stack.administrator());
  const rows = await connection.sql<{ name: string }[]>`
    select datname::text as name from pg_database where not datistemplate and datname <> 'postgres' order by 1`;
  return rows.map(({ name }) => name);
}
