import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, withCluster } from "../support/stack.ts";

test("every command that writes refuses a standby, and the secret stays as it is", async () => {
  await using server = await withCluster();
  await using external = await makeTestStack();
  const url = connectionUrl(await server.administrator());
  const options = { stackDir: external.stackDir, env: { CQRS_MODE: "external", DATABASE_URL: url } };
  await runForData(["bootstrap", "--yes"], options);
  await runForData(["seed"], options);
  await runForData(["backup"], options);
  await runForData(["stop"], server);
  await writeFile(join(server.dataDir, "standby.signal"), "");

  const own = await runScript(["bootstrap"], server);
  assert.equal(own.exitCode, 9, own.stderr);
  assert.match(own.stderr, /is a standby\n {2}why: .* Nothing was changed\.\n {2}fix: .*select pg_promote\(\);/);
  const secrets = join(external.stackDir, "secrets");
  const before = await readdir(secrets, { recursive: true });
  const settings = { ...options, env: { ...options.env, POSTGRES_PASSWORD: "another1" } };
  for (const words of [["bootstrap"], ["backup"], ["restore", "latest", "--yes"], ["reset", "--yes"]]) {
    const run = await runScript(words, settings);
    assert.equal(run.exitCode, 9, `${words.join(" ")}\n${run.stderr}`);
    assert.match(run.stderr, /^error: The server 127\.0\.0\.1:\d+ is a standby$/m, words.join(" "));
  }
  const others = [
    ["secrets", "rotate"],
    ["seed", "--events", "1000"],
    ["projections", "run", "--once"],
  ];
  for (const words of others) {
    const run = await runScript(words, options);
    assert.equal(run.exitCode, 9, `${words.join(" ")}\n${run.stderr}`);
    assert.doesNotMatch(run.stderr, /^ +at /m);
  }
  assert.deepEqual((await readdir(secrets, { recursive: true })).toSorted(), before.toSorted());
  const listed = await runScript(["projections", "list"], options);
  assert.equal(listed.exitCode, 0);
  assert.match(listed.stderr, /^warning: the server is a standby: .*the primary may be further ahead$/m);
});
