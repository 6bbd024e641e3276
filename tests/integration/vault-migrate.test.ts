import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { openStackStore } from "../../scripts/lib/stack/open-store.ts";
import { administratorTarget, openStack } from "../../scripts/lib/stack/stack.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, testConfig } from "../support/stack.ts";
import { administratorOf, shareVault, type TestVault, vaultTest } from "../support/vault.ts";
import { localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";
import { secretContract } from "../unit/contracts.ts";

const { paths } = secretContract;
const apiPath = paths.application.replace("secret/", "secret/data/");

const emptyVault = shareVault();

async function readStored(vault: TestVault): Promise<Record<string, string>> {
  const { status, body } = await vault.request("GET", apiPath);
  assert.equal(status, 200);
  return body.data.data;
}

vaultTest("secrets migrate names the files that are left, and deletes those whose values are in Vault", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await runForData(["secrets", "rotate", "--yes"], stack);
  await runForData(["backup", "--encrypt"], stack);
  const options = { ...stack, env: administratorOf(vault) };
  const folders = [paths.application, paths.applicationLocal, "secret/cqrs-spike/archive-key"].map((path) =>
    join(stack.stackDir, "secrets", path),
  );
  const left = () => folders.filter(existsSync);
  const migrated = await runScript(["secrets", "migrate"], options);
  assert.match(migrated.stdout, /^These files still contain secrets in plain text:$/m);
  for (const folder of folders) assert.ok(migrated.stdout.includes(`\n  ${folder}\n`), migrated.stdout);
  assert.match(migrated.stdout, /^Run bun run secrets migrate --delete-files to delete those that Vault has\.$/m);
  assert.deepEqual(left(), folders);

  const stored = await readStored(vault);
  await vault.request("POST", apiPath, { data: { ...stored, password: "Another1" } });
  const partly = await runScript(["secrets", "migrate", "--delete-files", "--yes"], options);
  assert.match(partly.stdout, /database \(other values\)\n(?!Run )/);
  assert.deepEqual(left(), folders.slice(0, 1), "all versions of what Vault has are gone");

  await vault.request("POST", apiPath, { data: stored });
  const all = await runForData<{ folder: string | null }[]>(["secrets", "migrate", "--delete-files", "--yes"], options);
  assert.deepEqual([all.map(({ folder }) => folder), left()], [[null, null, null], []]);
  const files = await readdir(join(stack.stackDir, "secrets"), { recursive: true, withFileTypes: true });
  const names = files.filter((entry) => entry.isFile()).map(({ parentPath }) => parentPath);
  assert.ok(
    names.every((name) => name.endsWith("embedded/superuser")),
    "only the superuser's is in files",
  );
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], options)).isChanged, false);
  await runForData(["restore", "latest", "--yes"], options);
});

vaultTest("secrets migrate --delete-files keeps earlier keys of archives, and asks before it deletes", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await runForData(["backup", "--encrypt"], stack);
  const key = join(stack.stackDir, "secrets/secret/cqrs-spike/archive-key");
  const application = join(stack.stackDir, "secrets", paths.application);
  const options = { ...stack, env: administratorOf(vault) };
  const refused = await runScript(["secrets", "migrate", "--delete-files"], options);
  assert.deepEqual([refused.exitCode, existsSync(key), existsSync(application)], [8, true, true], refused.stderr);
  assert.match(refused.stderr, /restart applications[\s\S]*--delete-files --yes/);

  const files = new FileSecretStore(join(stack.stackDir, "secrets"));
  await files.write("secret/cqrs-spike/archive-key", { key: "a".repeat(64) }, { cas: 1 });
  for (const run of ["first", "again"]) {
    const { stdout } = await runScript(["secrets", "migrate", "--delete-files", "--yes"], options);
    assert.ok(stdout.includes(`\n  ${key} (earlier keys of archives)\n`), `${run}: ${stdout}`);
    assert.doesNotMatch(stdout, /^Run bun run secrets migrate/m, run);
    assert.deepEqual([(await readdir(key)).toSorted(), existsSync(application)], [["1.json", "2.json"], false], run);
  }
  await rm(join(key, "1.json"));
  await runForData(["secrets", "migrate", "--delete-files", "--yes"], options);
  assert.ok(!existsSync(key), "Vault has the only key");
});

/** Opens a store, runs `migrate`, and ends the store's sessions: the next one needs the secret. */
async function isConnectedAfter(stackDir: string, migrate: () => Promise<unknown>): Promise<boolean> {
  const config = testConfig(stackDir);
  await using store = await openStackStore(await openStack(config, "application"), { maxConnections: 1 });
  await store.sql`select 1`;
  await migrate();
  await using administrator = openConnection(await administratorTarget(await openStack(config)));
  await administrator.sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'cqrs_user'`;
  // The session that was ended is noticed by the first statement at the latest.
  await store.sql`select 1`.catch(() => undefined);
  return (await store.sql<{ one: number }[]>`select 1 as one`)[0]?.one === 1;
}

test("an application that runs finds its secret in the local Vault after the files were deleted", {
  skip: localVaultSkip,
}, async () => {
  await using stack = await makeVaultStack();
  await stack.data("bootstrap");
  const migrate = () => stack.data("secrets", "migrate", "--secrets", "vault", "--delete-files", "--yes");
  assert.equal(await isConnectedAfter(stack.stackDir, migrate), true);
});

vaultTest("an application that runs without the settings of Vault is told which one is missing", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  const options = { ...stack, env: administratorOf(vault) };
  const migrate = () => runForData(["secrets", "migrate", "--delete-files", "--yes"], options);
  await assert.rejects(isConnectedAfter(stack.stackDir, migrate), /VAULT_ADDR/);
});
