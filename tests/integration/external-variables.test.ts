import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientEnvironment } from "../../scripts/lib/operations/status.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, sharedStack } from "../support/stack.ts";

test("status --env of an external server needs only the secret, and CQRS_ADMIN_URL works next to it", async () => {
  await using server = await sharedStack();
  await using stack = await makeTestStack();
  const { stackDir } = stack;
  const url = connectionUrl({ ...(await server.administrator()), database: "cqrs_db" });
  const user = { POSTGRES_USER: "variables_user" };
  await runForData(["bootstrap", "--mode", "external", "--yes"], { stackDir, env: { ...user, DATABASE_URL: url } });
  const { env } = await runForData<{ env: ClientEnvironment }>(["status", "--env"], stack);
  assert.deepEqual([env.PGUSER, env.PGDATABASE], ["variables_user", "cqrs_db"]);

  const refusedCommands = [
    ["backup"],
    ["reset", "--yes"],
    ["secrets", "rotate"],
    ["bootstrap"],
    ["schema", "apply"],
    ["schema", "dump"],
  ];
  for (const words of refusedCommands) {
    const run = await runScript(words, { stackDir, env });
    assert.equal(run.exitCode, 2, `${words.join(" ")}\n${run.stderr}`);
    assert.match(run.stderr, /^error: variables_user (is the application's login|cannot be both)/m);
    assert.match(run.stderr, /CQRS_ADMIN_URL/);
  }
  assert.equal((await runScript(["status"], { stackDir, env })).exitCode, 0);
  const both = { stackDir, env: { ...env, CQRS_ADMIN_URL: url } };
  await runForData(["bootstrap"], both);
  await runForData(["backup"], both);
  await runForData(["secrets", "rotate"], both);
  const rotated = await runForData<{ env: ClientEnvironment }>(["status", "--env"], stack);
  const refused = await runScript(["backup"], { stackDir, env: rotated.env });
  assert.match(refused.stderr, /^error: variables_user_b is the application's login/m);
});

test("commands say that embedded mode ignores DATABASE_URL and PGHOST until the first bootstrap", async () => {
  await using stack = await makeTestStack();
  const { stackDir } = stack;
  const note = /DATABASE_URL and the PG\* variables are ignored; .* bootstrap --mode external/;
  for (const env of [{ DATABASE_URL: "postgres://db.invalid/x" }, { PGHOST: "db.invalid" }]) {
    for (const words of [["status"], ["backup"]]) {
      const run = await runScript(words, { stackDir, env });
      assert.equal(run.exitCode, 3);
      assert.match(run.stderr, note, words.join(" "));
    }
  }
  const options = { stackDir, env: { DATABASE_URL: "postgres://db.invalid/x" } };
  assert.match((await runScript(["bootstrap"], options)).stderr, note);
  assert.doesNotMatch((await runScript(["bootstrap"], options)).stderr, note);
  assert.doesNotMatch((await runScript(["status"], { stackDir: `${stackDir}/none` })).stderr, note);
});
