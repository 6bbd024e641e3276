import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadConfig } from "../../scripts/lib/config.ts";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import type { SecretStore } from "../../scripts/lib/secrets/store.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { findLocalVault, localVaultAddress, stopLocalVault } from "../../scripts/lib/stack/local-vault.ts";
import { openStack } from "../../scripts/lib/stack/stack.ts";
import { runScript } from "../support/run-script.ts";
import { makeTestStack } from "../support/stack.ts";
import {
  countRootTokens,
  leaveRootToken,
  leaveUnfinished,
  localVaultSkip,
  makeVaultStack,
  type VaultStack,
} from "../support/vault-stack.ts";

test("secrets in a local Vault survive a second bootstrap, stop, SIGKILL and destroy", {
  skip: localVaultSkip,
}, async () => {
  await using stack = await makeVaultStack();
  const first = await stack.data<BootstrapResult>("bootstrap", "--secrets", "vault");
  assert.deepEqual([first.isChanged, first.steps[0]?.name], [true, "vault"]);
  const password = await stack.password();
  assert.match(password ?? "", /^[A-Za-z0-9]{32}$/);
  assert.equal(await countRootTokens(stack), 0, "root was revoked");
  await assertPrivate(stack);

  const second = await stack.data<BootstrapResult>("bootstrap");
  assert.deepEqual([second.isChanged, await stack.password()], [false, password], "remembered without the flag");
  const status = await stack.data<StackStatus>("status");
  assert.deepEqual(status.secrets, {
    place: "local-vault",
    location: localVaultAddress(stack.stackDir),
    isReady: true,
  });

  const pid = findLocalVault(stack.stackDir) as number;
  const stopped = await stack.data<{ vaultPid: number }>("stop");
  assert.deepEqual([stopped.vaultPid, isAlive(pid)], [pid, false]);
  const asked = await stack.run("secrets", "show");
  assert.deepEqual([asked.exitCode, /is unreachable[\s\S]*bun run bootstrap/.test(asked.stderr)], [3, true]);
  const reported = JSON.parse((await stack.run("status", "--json")).stdout) as { data: StackStatus };
  assert.equal(reported.data.secrets.isReady, false);
  await stack.data("bootstrap");
  assert.equal(await stack.password(), password, "a restart loses nothing");

  process.kill(findLocalVault(stack.stackDir) as number, "SIGKILL");
  await stack.data("bootstrap");
  assert.equal(await stack.password(), password, "neither does a kill");

  const destroyed = await stack.run("destroy", "--yes");
  assert.match(destroyed.stderr, /keeps: .*vault\/data/);
  assert.equal(findLocalVault(stack.stackDir), undefined);
  await stack.data("bootstrap");
  assert.equal(await stack.password(), password, "destroy deletes PostgreSQL's data but no secrets");
  const { port } = await stack.data<StackStatus>("status");
  await using connection = openConnection({
    host: "127.0.0.1",
    port: port as number,
    database: "cqrs_db",
    user: "cqrs_user",
    password: `${password}`,
  });
  assert.equal((await connection.sql`select 1`).length, 1);
});

test("losses caused by a killed run or a person are repaired or reported", { skip: localVaultSkip }, async () => {
  await using stack = await makeVaultStack();
  const { files } = stack;
  await stack.data("secrets", "init", "--secrets", "vault");
  const password = await stack.password();

  for (const name of await readdir(files.credentials)) await rm(join(files.credentials, name));
  await leaveRootToken(stack);
  // An attempt left by a killed run.
  await fetch(`${localVaultAddress(stack.stackDir)}/v1/sys/generate-root/attempt`, { method: "POST", body: "{}" });
  const { details } = await stack.data<{ details: string[] }>("secrets", "init");
  assert.deepEqual(details, ["delivered the secret id of cqrs-init, delivered the secret id of cqrs-app"]);
  assert.equal(await stack.password(), password, "the unseal key is enough to create new credentials");
  assert.equal(await countRootTokens(stack), 0, "a leftover root token is revoked");

  await leaveUnfinished(stack);
  await stack.data("secrets", "init");
  assert.equal(await countRootTokens(stack), 0, "a run that was killed before it revoked root is not complete");

  await rename(files.unsealKey, `${files.unsealKey}.away`);
  const lost = await stack.run("secrets", "init");
  assert.equal(lost.exitCode, 3);
  assert.ok(lost.stderr.includes(files.unsealKey), lost.stderr);
  assert.ok(existsSync(files.data), "nothing that may contain secrets is removed");
  await rename(`${files.unsealKey}.away`, files.unsealKey);
  assert.equal(await stack.password(), password);

  await writeFile(files.initialising, "");
  await rm(files.unsealKey);
  await stack.data("secrets", "init");
  assert.notEqual(await stack.password(), password, "a Vault whose key was never written had no secrets yet");
});

test("another program on the port of a stopped local Vault gets no credentials", { skip: localVaultSkip }, async () => {
  await using stack = await makeVaultStack();
  await stack.data("secrets", "init", "--secrets", "vault");
  await using held = await openStackClient(stack);
  assert.ok(await held.read(secretPaths.application), "it has a token now");
  await stopLocalVault(stack.stackDir, { timeoutMs: 30_000, signal: new AbortController().signal });
  const requests: string[] = [];
  const impostor = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers["x-vault-token"]}`);
    response.end(JSON.stringify({ auth: { client_token: "t" }, data: { data: {}, metadata: { version: 1 } } }));
  });
  const { port } = new URL(localVaultAddress(stack.stackDir) ?? "");
  await new Promise<void>((resolve) => impostor.listen(Number(port), "127.0.0.1", resolve));
  try {
    for (const words of [["secrets", "show"], ["seed"], ["secrets", "status"]]) {
      const ran = await stack.run(...words);
      assert.equal(ran.exitCode, 3, `${words}: ${ran.stdout}${ran.stderr}`);
      assert.match(ran.stderr, /^ {2}why: Its process does not exist\.$/m);
    }
    await assert.rejects(held.read(secretPaths.application), { code: "VAULT_UNREACHABLE" });
    assert.deepEqual(requests, []);
  } finally {
    await new Promise((resolve) => impostor.close(resolve));
  }
});

test("a local Vault that a person started with our configuration is unsealed and used, not refused", {
  skip: localVaultSkip,
}, async () => {
  await using stack = await makeVaultStack();
  await stack.data("secrets", "init", "--secrets", "vault");
  const password = await stack.password();
  const limit = { timeoutMs: 30_000, signal: new AbortController().signal };
  for (const [folder, ...words] of [
    ["vault", "-config", "data/server.hcl"],
    ["vault/data", "-config=./server.hcl"],
    ["vault", "-log-level=warn", "--config=data"],
  ]) {
    await stopLocalVault(stack.stackDir, limit);
    const cwd = join(stack.stackDir, `${folder}`);
    const program = join(stack.stackDir, "programs/vault");
    const child = spawn(program, ["server", ...words], { cwd, stdio: "ignore", detached: true });
    child.unref();
    const found = await pollUntil(async () => findLocalVault(stack.stackDir), { timeoutMs: 30_000, intervalMs: 50 });
    assert.equal(found, child.pid, words.join(" "));
    const sealed = await pollUntil(
      async () => {
        const shown = await stack.run("secrets", "show");
        return /sealed/i.test(shown.stderr) ? shown : undefined;
      },
      { timeoutMs: 30_000, intervalMs: 100 },
    );
    assert.match(sealed?.stderr ?? "", /bun run bootstrap/);
    await stack.data("secrets", "init");
    assert.equal(await stack.password(), password);
  }
});

test("--secrets vault with neither a binary nor VAULT_ADDR reports both", async () => {
  await using stack = await makeTestStack();
  const runtimeOnly = join(stack.stackDir, "no-programs");
  const run = await runScript(["secrets", "init", "--secrets", "vault"], { ...stack, env: { PATH: runtimeOnly } });
  assert.equal(run.exitCode, 9, run.stderr);
  assert.match(run.stderr, /neither vault nor bao is on the PATH[\s\S]*VAULT_ADDR/i);
});

/** The secret store as a program that keeps running uses it. */
async function openStackClient({ stackDir }: VaultStack): Promise<SecretStore> {
  const sources = { environment: { CQRS_STACK_DIR: stackDir, CQRS_TIMEOUT: "30s" }, dotEnvFile: null };
  return (await openStack(loadConfig({}, sources))).secrets;
}

/** Only the owner can read the files; the log and the configuration contain no keys. */
async function assertPrivate({ files, stackDir }: VaultStack): Promise<void> {
  const names = await readdir(join(stackDir, "vault"), { recursive: true });
  for (const name of names) {
    const { mode } = await stat(join(stackDir, "vault", name));
    assert.equal(mode & 0o077, 0, `${name} has the mode ${(mode & 0o777).toString(8)}`);
  }
  const key = (await readFile(files.unsealKey, "utf8")).trim();
  const secretId = (await readFile(join(files.credentials, "cqrs-init.secret-id"), "utf8")).trim();
  for (const file of [files.log, files.config, join(stackDir, "state.json")]) {
    const text = await readFile(file, "utf8");
    for (const hidden of [key, secretId]) assert.ok(!text.includes(hidden), file);
    assert.doesNotMatch(text, /\bhvs\./);
  }
}
