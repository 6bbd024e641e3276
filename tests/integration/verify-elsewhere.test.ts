import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { stopServer } from "../../scripts/lib/postgres/server/life-cycle.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { startEmbeddedServer } from "../../scripts/lib/stack/embedded.ts";
import { stopLocalVault } from "../../scripts/lib/stack/local-vault.ts";
import type { Verification } from "../../scripts/lib/verify/verify.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";
import { localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";
import { fails, findCheck, passes, verify } from "../support/verify.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

test("on an external server, an administrator who is no superuser can verify; what is not here is not checked", async () => {
  const superuser = await stack.administrator();
  await using admin = openConnection(superuser);
  await admin.sql.unsafe(`create role boss login createrole createdb password 'for a test'`);
  await admin.sql.unsafe("grant cqrs_owner, cqrs_app, cqrs_app_owner, cqrs_user to boss with admin option");
  const stackDir = await mkdtemp(join(tmpdir(), "cqrs-external-"));
  const env = {
    DATABASE_URL: connectionUrl({ ...superuser, database: "postgres", user: "boss", password: "for a test" }),
  };
  const options = { stackDir, env };
  await runForData(["bootstrap", "--mode", "external", "--user", "other", "--yes"], options);
  const { ok, checks } = await runForData<Verification>(["verify"], options);
  assert.equal(ok, true);
  const skipped = checks.filter(({ result }) => result === "skipped").map(({ id }) => id);
  assert.deepEqual(
    skipped.filter((id) => id !== "drift"),
    ["data-directory", "disk-space", "logs", "backup", "restart"],
  );

  const refused = await runScript(["verify", "--restart", "--yes"], options);
  assert.equal(refused.exitCode, 8, refused.stderr);
  assert.match(refused.stderr, /^error: An external server cannot be restarted from here$/m);

  const file = join(stackDir, "state.json");
  const state = JSON.parse(await readFile(file, "utf8")) as { cluster: object };
  await writeFile(file, JSON.stringify({ ...state, cluster: { ...state.cluster, systemIdentifier: "1" } }));
  const { data } = JSON.parse((await runScript(["verify", "--json"], options)).stdout) as { data: Verification };
  const identity = findCheck(data, "identity");
  assert.deepEqual(
    [identity.result, identity.why],
    ["failed", "The last bootstrap set up the server with the system identifier 1."],
  );
  await rm(stackDir, { recursive: true });
});

test("with a local Vault, credentials names the versions of both secrets, and fails if Vault is stopped", {
  skip: localVaultSkip,
}, async () => {
  await using vault = await makeVaultStack();
  await vault.data("bootstrap", "--secrets", "vault");
  const verified = findCheck(await vault.data<Verification>("verify"), "credentials");
  assert.match(verified.evidence, /^local-vault http:\/\/127\.0\.0\.1:\d+: secret\/cqrs-spike\/database version 1, /);
  await stopLocalVault(vault.stackDir, { timeoutMs: 60_000 });
  const { exitCode, stdout } = await vault.run("verify", "--json");
  assert.equal(exitCode, 11, stdout);
  const { data } = JSON.parse(stdout) as { data: Verification };
  const failed = findCheck(data, "credentials");
  assert.match(failed.evidence, /is unreachable/);
  assert.match(failed.fix ?? "", /bootstrap/);
  assert.equal(findCheck(data, "immutability").result, "ok", "the rest is checked");
});

test("on a standby, health fails, and nothing that a standby refuses is tried; after its promotion, epoch fails", async () => {
  await stopServer(stack.dataDir, { timeoutMs: 60_000 });
  await writeFile(join(stack.dataDir, "standby.signal"), "", { mode: 0o600 });
  const opened = await openTestStack(stack.stackDir);
  const step = async (_name: string, work: () => Promise<unknown>) => void (await work());
  await startEmbeddedServer(opened, { ...silentRun, step });
  const { checks } = await verify(stack);
  const of = (wanted: string) => checks.filter(({ result }) => result === wanted).map(({ id }) => id);
  assert.deepEqual(of("failed"), ["health"], JSON.stringify(checks.filter(({ result }) => result === "failed")));
  for (const id of ["roles", "least-privilege", "immutability"]) assert.ok(of("skipped").includes(id), id);
  const { fix } = await fails("health", /^The server is a standby, which accepts no appends\.$/, stack);
  assert.match(fix ?? "", /promote this server and begin an epoch/);

  await using admin = openConnection(await stack.administrator());
  await admin.sql`select pg_promote()`;
  const epoch = await fails("epoch", /epoch_is_of_this_server: .*"fact":"timeline","recorded":"1","actual":"2"/, stack);
  assert.match(epoch.fix ?? "", /begin_epoch/);
  await admin.sql`select event_store.begin_epoch('promoted')`;
  await passes(stack);
});
