import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { loadConfig } from "../../scripts/lib/config.ts";
import { diagnose } from "../../scripts/lib/doctor/doctor.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { tokenLogin } from "../../scripts/lib/secrets/vault/authentication.ts";
import { VaultClient } from "../../scripts/lib/secrets/vault/client.ts";
import { deliverSecretId } from "../../scripts/lib/secrets/vault/delivery.ts";
import { findLocalVault, stopLocalVault } from "../../scripts/lib/stack/local-vault.ts";
import { readState, type StackState, writeState } from "../../scripts/lib/stack/state.ts";
import { type DiagnosedPlace, diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import { runForData } from "../support/run-script.ts";
import { makeTestStack, silentRun, type TestStack } from "../support/stack.ts";
import { administratorOf, startVault, type TestVault, vaultProgram, vaultSkip } from "../support/vault.ts";
import { openVaultProxy } from "../support/vault-proxy.ts";
import { localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";

const only = { areas: ["vault"] };
const skip = vaultSkip;
let vault: TestVault;
let stack: TestStack;

before(async () => {
  if (skip) return;
  vault = await startVault();
  stack = await makeTestStack();
  await asAdministrator("bootstrap");
});
after(async () => {
  await stack?.[Symbol.asyncDispose]();
  await vault?.[Symbol.asyncDispose]();
});

/** The stack, with these variables. */
function place(environment: Readonly<Record<string, string>>, { stackDir } = stack): DiagnosedPlace {
  const sources = { environment: { CQRS_STACK_DIR: stackDir, ...environment }, dotEnvFile: null };
  return { stackDir, load: () => loadConfig({ timeout: "60s" }, sources) };
}

const usual = () => place({ VAULT_ADDR: vault.address });

/** Makes the stack remember another address of its Vault, such as that of a proxy. */
async function remember(address: string): Promise<AsyncDisposable> {
  const write = async (vaultAddress: string) => {
    const state = await readState(stack.stackDir);
    await writeState(stack.stackDir, { ...(state as StackState), vaultAddress });
  };
  await write(address);
  return { [Symbol.asyncDispose]: () => write(vault.address) };
}

function asAdministrator(...words: string[]): Promise<unknown> {
  return runForData(words, { stackDir: stack.stackDir, env: administratorOf(vault) });
}

test("a Vault that is sealed or stopped is found until it is unsealed or started", { skip }, async () => {
  await isHealthy(usual());
  await vault.seal();
  await finds("vault-sealed", { evidence: /says that it is sealed/, fix: /vault operator unseal/ }, usual(), only);
  await vault.unseal();
  await isHealthy(usual(), only);
  await vault.stop();
  await finds("vault-unreachable", { evidence: /ECONNREFUSED/, fix: /Start that Vault/ }, usual(), only);
  await vault.start();
  await finds("vault-sealed", { evidence: /says that it is sealed/, fix: /vault operator unseal/ }, usual(), only);
  await vault.unseal();
  await isHealthy(usual(), only);
});

test("a Vault that does not answer is found, and doctor does not wait for it", { skip }, async () => {
  await using proxy = await openVaultProxy(vault.address);
  await using _ = await remember(proxy.address);
  const muted = place({ VAULT_ADDR: proxy.address });
  proxy.treat(() => "mute");
  await finds("vault-unreachable", { evidence: /does not respond/, fix: /./ }, muted, only);
  proxy.treat(() => "pass");
  await isHealthy(muted, only);
});

test("a clock of Vault that is minutes ahead or behind is found", { skip }, async () => {
  await using proxy = await openVaultProxy(vault.address);
  const { body } = await vault.request("GET", "sys/health");
  await using _ = await remember(proxy.address);
  const skewed = place({ VAULT_ADDR: proxy.address });
  for (const [seconds, evidence] of [
    [300, /(299|300|301) s ahead of ours/],
    [-90, /(89|90|91) s behind ours/],
  ] as const) {
    const server_time_utc = Math.round(Date.now() / 1000) + seconds;
    proxy.treat(({ path }) =>
      path.startsWith("sys/health") ? { status: 200, body: { ...body, server_time_utc } } : "pass",
    );
    await finds("vault-clock-skew", { evidence, fix: /timedatectl set-ntp true/ }, skewed, only);
  }
  proxy.treat(() => "pass");
  await isHealthy(skewed, only);
});

test("a token without permission is found, also on a standby of Vault", { skip }, async () => {
  await using proxy = await openVaultProxy(vault.address);
  await using _ = await remember(proxy.address);
  const token = await vault.tokenFor('path "other/*" { capabilities = ["read"] }');
  const { body } = await vault.request("GET", "sys/health");
  const forbidden = place({ VAULT_ADDR: proxy.address, VAULT_TOKEN: token });
  const expected = { evidence: /policy does not allow/, fix: /./ };
  assert.equal((await finds("check-failed", expected, forbidden, only)).symptom, "secrets");
  const isAccepted = (path: string) => /standbyok=true/.test(path);
  proxy.treat(({ path }) =>
    path.startsWith("sys/health") ? { status: isAccepted(path) ? 200 : 429, body: { ...body, standby: true } } : "pass",
  );
  await finds("check-failed", expected, forbidden, only);
  await isHealthy(place({ VAULT_ADDR: proxy.address }), only);
});

test("a missing address and an expired or revoked token are found", { skip }, async () => {
  const expected = { evidence: new RegExp(vault.address), fix: new RegExp(`VAULT_ADDR=${vault.address}`) };
  await finds("vault-address-missing", expected, place({}), only);
  const token = await vault.tokenFor('path "secret/*" { capabilities = ["read"] }');
  const withToken = place({ VAULT_ADDR: vault.address, VAULT_TOKEN: token });
  await isHealthy(withToken, only);
  await vault.request("POST", "auth/token/revoke", { token });
  await finds("vault-token-expired", { evidence: /expired, was revoked/, fix: /Set VAULT_TOKEN/ }, withToken, only);
  await isHealthy(usual(), only);
});

test("another Vault than the remembered one is found, and gets no credentials", { skip }, async () => {
  await using proxy = await openVaultProxy(vault.address);
  const expected = {
    evidence: new RegExp(`VAULT_ADDR is ${proxy.address}; the last bootstrap used ${vault.address}\\.`),
    fix: new RegExp(`^Set VAULT_ADDR=${vault.address} .+ run bun run bootstrap`),
  };
  for (const login of [{}, { VAULT_TOKEN: vault.rootToken }, { VAULT_ROLE_ID: "role", VAULT_SECRET_ID: "secret" }]) {
    proxy.seen.length = 0;
    const other = place({ VAULT_ADDR: proxy.address, ...login });
    await finds("vault-address-differs", expected, other);
    assert.deepEqual([...new Set(proxy.seen)], ["GET sys/seal-status"]);
    const { notChecked } = await diagnosePlace(other);
    assert.match(JSON.stringify(notChecked), /credentials.+is not the Vault that the stack remembers/);
  }
  const { hostname, port } = new URL(vault.address);
  for (const address of [`${vault.address}/`, `HTTP://${hostname}:${port}//`])
    await isHealthy(place({ VAULT_ADDR: address }));
});

test("a stack that keeps its secrets in files sends no token to a Vault", { skip }, async () => {
  await using proxy = await openVaultProxy(vault.address);
  await using files = await makeTestStack();
  const { secrets: _, vaultAddress: __, ...state } = (await readState(stack.stackDir)) as StackState;
  await writeState(files.stackDir, state);
  const other = place({ VAULT_ADDR: proxy.address, VAULT_TOKEN: vault.rootToken }, files);
  await finds("vault-address-differs", { evidence: /used no Vault\.$/, fix: /^Unset VAULT_ADDR / }, other, only);
  assert.deepEqual(proxy.seen, ["GET sys/seal-status"]);
});

const credentials = () => join(stack.stackDir, "vault/credentials");

test("a delivery that someone else has taken is found until secrets init has replaced it", { skip }, async () => {
  const { token } = JSON.parse(await readFile(join(credentials(), "cqrs-app.wrapped"), "utf8"));
  await isHealthy(usual(), only);
  assert.equal((await vault.request("POST", "sys/wrapping/unwrap", undefined, token)).status, 200);
  const expected = { evidence: /cqrs-app\.wrapped/, fix: /bun run secrets init, with VAULT_TOKEN/ };
  await finds("vault-delivery-taken", expected, usual(), only);
  await asAdministrator("secrets", "init");
  await isHealthy(usual(), only);
});

test("doctor does not unwrap a delivery, which is possible only once", { skip }, async () => {
  const limits = { timeoutMs: 30_000, unreachableMs: 0, sealedMs: 0 };
  const client = new VaultClient({ address: vault.address, login: tokenLogin(vault.rootToken), limits });
  await deliverSecretId(client, credentials(), "cqrs-init");
  const before = await readFile(join(credentials(), "cqrs-init.wrapped"), "utf8");
  await diagnose(() => usual().load?.() as ReturnType<typeof loadConfig>, silentRun, only);
  assert.equal(await readFile(join(credentials(), "cqrs-init.wrapped"), "utf8"), before);
  await runForData(["secrets", "status"], { stackDir: stack.stackDir, env: { VAULT_ADDR: vault.address } });
});

test("a revoked or missing login, and a Vault that was emptied, are found until secrets init has run", {
  skip,
}, async () => {
  // Unwraps the delivery.
  await runForData(["bootstrap"], { stackDir: stack.stackDir, env: { VAULT_ADDR: vault.address } });
  const role = "auth/approle/role/cqrs-init/secret-id";
  const { body } = await vault.request("GET", `${role}?list=true`);
  for (const secret_id_accessor of body.data.keys)
    await vault.request("POST", `${role}-accessor/destroy`, { secret_id_accessor });
  const refused = { evidence: /expired or revoked/, fix: /bun run secrets init/ };
  await finds("vault-login-refused", refused, usual(), only);
  await asAdministrator("secrets", "init");
  await isHealthy(usual(), only);

  await rm(credentials(), { recursive: true });
  await finds("vault-login-missing", { evidence: /no AppRole/, fix: /bun run secrets init/ }, usual(), only);
  await asAdministrator("secrets", "init");
  await isHealthy(usual(), only);

  await vault.request("DELETE", "sys/mounts/secret");
  const emptied = { evidence: /has no secret\/cqrs-spike\/database/, fix: /bun run bootstrap, with VAULT_TOKEN/ };
  await finds("vault-secret-missing", emptied, usual(), only);
  await asAdministrator("bootstrap");
  await isHealthy(usual());
});

test("a local Vault that was stopped, sealed or emptied is found, and --fix repairs it", {
  skip: localVaultSkip,
}, async () => {
  await using local = await makeVaultStack();
  await local.data("bootstrap", "--secrets", "vault");
  const found = place({ PATH: `${process.env["PATH"]}` }, local as unknown as TestStack);
  const wait = { timeoutMs: 60_000, signal: silentRun.signal };
  await isHealthy(found);
  const startByHand = async () => {
    await stopLocalVault(local.stackDir, wait);
    const child = spawn(`${vaultProgram?.binary}`, ["server", "-config", local.files.config], { stdio: "ignore" });
    await once(child, "spawn");
    await pollUntil(() => findLocalVault(local.stackDir), { timeoutMs: 60_000, intervalMs: 50 });
  };
  const fix = /^Run bun run bootstrap, which starts and unseals the local Vault\.$/;

  await stopLocalVault(local.stackDir, wait);
  await finds("vault-unreachable", { evidence: /process does not exist/, fix }, found, only);
  await local.data("bootstrap");
  await isHealthy(found);

  await startByHand();
  await finds("vault-sealed", { evidence: /is sealed/, fix }, found, only);
  await repair(found, only);
  await isHealthy(found);

  await stopLocalVault(local.stackDir, wait);
  await rm(local.files.data, { recursive: true });
  await mkdir(local.files.data);
  await startByHand();
  await finds("vault-uninitialised", { evidence: /not initialised/, fix }, found, only);
  await repair(found, only);
  await isHealthy(found);
});
