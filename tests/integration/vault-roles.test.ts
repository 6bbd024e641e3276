import assert from "node:assert/strict";
import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appRoleLogin } from "../../scripts/lib/secrets/vault/authentication.ts";
import { VaultClient } from "../../scripts/lib/secrets/vault/client.ts";
import { receiveCredentials } from "../../scripts/lib/secrets/vault/delivery.ts";
import { VaultFailure } from "../../scripts/lib/secrets/vault/failure.ts";
import { VaultSecretStore } from "../../scripts/lib/secrets/vault/store.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";
import { administratorOf, shareVault, type TestVault, vaultTest } from "../support/vault.ts";

type Role = "cqrs-init" | "cqrs-app";

const emptyVault = shareVault();
const secret = "secret/cqrs-spike/database";
const limits = { timeoutMs: 30_000, unreachableMs: 500, sealedMs: 500 };

/** A Vault set up by `secrets init`. */
async function openInitialised() {
  const vault = await emptyVault();
  const stack = await makeTestStack();
  await runForData(["secrets", "init"], { ...stack, env: administratorOf(vault) });
  const folder = join(stack.stackDir, "vault/credentials");
  const store = (role: Role) => {
    const login = appRoleLogin(`the AppRole ${role}`, (send) => receiveCredentials(send, folder, role));
    return new VaultSecretStore(new VaultClient({ address: vault.address, login, limits }));
  };
  return { vault, stack, folder, store, [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose]() };
}

async function readFileOf(folder: string, role: Role, kind: string): Promise<string> {
  return (await readFile(join(folder, `${role}.${kind}`), "utf8")).trim();
}

async function logIn(vault: TestVault, folder: string, role: Role): Promise<string> {
  const credentials = {
    role_id: await readFileOf(folder, role, "role-id"),
    secret_id: await readFileOf(folder, role, "secret-id"),
  };
  return (await vault.request("POST", "auth/approle/login", credentials, "")).body.auth.client_token;
}

function init(vault: TestVault, stack: TestStack) {
  return runForData<{ details: string[] }>(["secrets", "init"], { ...stack, env: { VAULT_ADDR: vault.address } });
}

/** Requests that each role must not be able to make. */
const forbidden: Readonly<Record<Role, readonly (readonly [method: string, path: string, body?: unknown])[]>> = {
  "cqrs-app": [
    ["POST", "secret/data/cqrs-spike/database", { data: {} }],
    ["GET", "secret/metadata/cqrs-spike/database"],
    ["GET", "secret/data/cqrs-spike/rotation"],
    ["GET", "secret/data/other/database"],
    ["POST", "auth/approle/role/cqrs-app/secret-id", {}],
    ["GET", "auth/approle/role/cqrs-app/role-id"],
  ],
  "cqrs-init": [
    ["GET", "secret/data/other/database"],
    ["DELETE", "secret/metadata/cqrs-spike/database"],
    ["PUT", "sys/policies/acl/cqrs-init", { policy: 'path "*" { capabilities = ["sudo", "read"] }' }],
    ["PUT", "sys/policies/acl/cqrs-app", { policy: 'path "*" { capabilities = ["read"] }' }],
    ["PUT", "sys/policies/acl/another", { policy: "" }],
    ["POST", "auth/approle/role/cqrs-init", { token_policies: ["root"] }],
    ["POST", "auth/approle/role/cqrs-app", { token_policies: ["cqrs-init"] }],
    ["POST", "auth/approle/role/another", { token_policies: ["cqrs-init"] }],
    ["POST", "auth/token/create", { policies: ["cqrs-app"] }],
    ["POST", "sys/mounts/another", { type: "kv" }],
    ["DELETE", "sys/mounts/secret"],
    ["DELETE", "sys/auth/approle"],
    ["PUT", "sys/seal"],
    ["GET", "sys/auth"],
    ["GET", "sys/mounts"],
  ],
};

vaultTest("neither AppRole can do more than its policy allows", async () => {
  await using opened = await openInitialised();
  const { vault, folder, store } = opened;
  await vault.request("POST", "secret/data/other/database", { data: { a: "1" } });
  await store("cqrs-app").read(secret);
  for (const role of ["cqrs-app", "cqrs-init"] as const) {
    const token = await logIn(vault, folder, role);
    const { body } = await vault.request("GET", "auth/token/lookup-self", undefined, token);
    assert.deepEqual(body.data.policies, [role], "and not the policy default");
    for (const [method, path, data] of forbidden[role]) {
      const { status } = await vault.request(method, path, data, token);
      assert.equal(status, 403, `${role}: ${method} ${path}`);
    }
  }
  assert.equal((await vault.request("GET", "secret/data/cqrs-spike/database")).status, 200);
});

vaultTest(
  "an application logs in again with the same secret id: token revoked, restart, second secrets init",
  async () => {
    await using opened = await openInitialised();
    const { vault, stack, folder, store } = opened;
    const application = store("cqrs-app");
    const stored = await application.read(secret);
    const secretId = await readFileOf(folder, "cqrs-app", "secret-id");
    for (let round = 0; round < 3; round++) {
      await revokeTokens(vault, "cqrs-app");
      assert.deepEqual(await application.read(secret), stored, "the token was revoked");
      assert.deepEqual(await store("cqrs-app").read(secret), stored, "the application was restarted");
    }
    assert.deepEqual((await init(vault, stack)).details, []);
    assert.equal(await readFileOf(folder, "cqrs-app", "secret-id"), secretId);
  },
);

vaultTest("an application whose token has expired logs in again", async () => {
  await using opened = await openInitialised();
  const { vault, store } = opened;
  const short = { token_ttl: "2s", token_max_ttl: "2s" };
  assert.equal((await vault.request("POST", "auth/approle/role/cqrs-app", short)).status, 204);
  const application = store("cqrs-app");
  const stored = await application.read(secret);
  for (let round = 0; round < 2; round++) {
    await sleep(2_500);
    assert.deepEqual(await application.read(secret), stored);
  }
});

vaultTest("concurrent reads whose token was revoked share one login", async () => {
  await using opened = await openInitialised();
  const { vault, store } = opened;
  const application = store("cqrs-app");
  await application.read(secret);
  await revokeTokens(vault, "cqrs-app");
  const reads = await Promise.all(Array.from({ length: 20 }, () => application.read(secret)));
  assert.ok(reads.every((read) => read?.version === 1));
  assert.equal(await revokeTokens(vault, "cqrs-app"), 1);
});

vaultTest("several clients that unwrap a delivery concurrently all get the secret id", async () => {
  await using opened = await openInitialised();
  const stores = Array.from({ length: 8 }, () => opened.store("cqrs-app"));
  const reads = await Promise.all(stores.map((store) => store.read(secret)));
  assert.ok(reads.every((read) => read?.version === 1));
  await assert.rejects(access(join(opened.folder, "cqrs-app.wrapped")), { code: "ENOENT" });
});

test("a client waits for the secret id of the one that is unwrapping the delivery", async () => {
  const lookup = { data: { creation_path: "auth/approle/role/cqrs-app/secret-id" } };
  const failure = new VaultFailure({ kind: "http", status: 500, text: "internal error" });
  for (const answers of [[{}], [lookup, {}], [lookup, failure]]) {
    const folder = await mkdtemp(join(tmpdir(), "cqrs-delivery-"));
    await writeFile(join(folder, "cqrs-app.role-id"), "role", { mode: 0o600 });
    await writeFile(join(folder, "cqrs-app.wrapped"), '{"token":"t","delivery":"d"}', { mode: 0o600 });
    const send = async () => {
      const [answer] = answers.splice(0, 1);
      // The other client writes it as soon as it has unwrapped the token.
      if (answers.length === 0) await writeFile(join(folder, "cqrs-app.secret-id"), "theirs", { mode: 0o600 });
      if (answer instanceof VaultFailure) throw answer;
      return answer ?? {};
    };
    const credentials = await receiveCredentials(send, folder, "cqrs-app");
    await rm(folder, { recursive: true });
    assert.deepEqual(credentials, { roleId: "role", secretId: "theirs" });
  }
});

vaultTest("a delivery that somebody else unwrapped is detected, and the secret id is revoked", async () => {
  await using opened = await openInitialised();
  const { vault, stack, folder, store } = opened;
  const { token } = JSON.parse(await readFileOf(folder, "cqrs-app", "wrapped")) as { token: string };
  const stolen: string = (await vault.request("POST", "sys/wrapping/unwrap", undefined, token)).body.data.secret_id;
  await assert.rejects(store("cqrs-app").read(secret), { code: "VAULT_DELIVERY_TAKEN", exitCode: 6 });

  assert.deepEqual((await init(vault, stack)).details, ["delivered the secret id of cqrs-app"]);
  assert.equal((await store("cqrs-app").read(secret))?.version, 1);
  const role_id = await readFileOf(folder, "cqrs-app", "role-id");
  const { status } = await vault.request("POST", "auth/approle/login", { role_id, secret_id: stolen }, "");
  assert.equal(status, 400, "the stolen secret id is revoked");
});

vaultTest("a wrapping token of another path is refused before it is unwrapped", async () => {
  await using opened = await openInitialised();
  const { vault, folder, store } = opened;
  const forged = await fetch(`${vault.address}/v1/sys/wrapping/wrap`, {
    method: "POST",
    headers: { "X-Vault-Token": vault.rootToken, "X-Vault-Wrap-TTL": "5m" },
    body: JSON.stringify({ secret_id: "a-strangers" }),
  });
  const { wrap_info } = (await forged.json()) as { wrap_info: { token: string } };
  await writeFile(join(folder, "cqrs-app.wrapped"), JSON.stringify({ token: wrap_info.token, delivery: "x" }));
  await assert.rejects(store("cqrs-app").read(secret), { code: "VAULT_DELIVERY_FORGED", exitCode: 6 });
  await assert.rejects(access(join(folder, "cqrs-app.secret-id")), { code: "ENOENT" });
  const { status } = await vault.request("POST", "sys/wrapping/lookup", { token: wrap_info.token }, "");
  assert.equal(status, 200, "it was not used");
});

vaultTest("a revoked secret id is reported, and an administrator delivers a new one", async () => {
  await using opened = await openInitialised();
  const { vault, stack, folder } = opened;
  const secret_id = await readFileOf(folder, "cqrs-init", "secret-id");
  await vault.request("POST", "auth/approle/role/cqrs-init/secret-id/destroy", { secret_id });
  const refused = await runScript(["secrets", "show"], { ...stack, env: { VAULT_ADDR: vault.address } });
  assert.equal(refused.exitCode, 6);
  assert.match(refused.stderr, /rejected the login with the AppRole cqrs-init[\s\S]*secrets init/);
  const { details } = await runForData<{ details: string[] }>(["secrets", "init"], {
    ...stack,
    env: administratorOf(vault),
  });
  assert.deepEqual(details, ["delivered the secret id of cqrs-init"]);
  assert.deepEqual((await init(vault, stack)).details, []);
});

vaultTest("an AppRole from variables and files is sufficient if Vault is already set up", async () => {
  await using opened = await openInitialised();
  await using elsewhere = await makeTestStack();
  const { vault, folder } = opened;
  const env = {
    VAULT_ADDR: vault.address,
    VAULT_ROLE_ID: await readFileOf(folder, "cqrs-init", "role-id"),
    VAULT_SECRET_ID_FILE: join(folder, "cqrs-init.secret-id"),
  };
  const shown = await runScript(["secrets", "show"], { ...elsewhere, env });
  assert.deepEqual([shown.exitCode, /^username=cqrs_user$/m.test(shown.stdout)], [0, true], shown.stderr);
});

/** @returns how many tokens of the AppRole were revoked */
async function revokeTokens(vault: TestVault, role: Role): Promise<number> {
  const { body } = await vault.request("GET", "auth/token/accessors?list=true");
  let count = 0;
  for (const accessor of body.data.keys) {
    const found = await vault.request("POST", "auth/token/lookup-accessor", { accessor });
    if (found.status !== 200 || !found.body.data.policies.includes(role)) continue;
    await vault.request("POST", "auth/token/revoke-accessor", { accessor });
    count++;
  }
  return count;
}
