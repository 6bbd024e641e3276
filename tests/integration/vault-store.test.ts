import assert from "node:assert/strict";
import { tokenLogin } from "../../scripts/lib/secrets/vault/authentication.ts";
import { VaultClient } from "../../scripts/lib/secrets/vault/client.ts";
import { VaultSecretStore } from "../../scripts/lib/secrets/vault/store.ts";
import { testSecretStore } from "../support/secret-store-contract.ts";
import { shareVault, vaultSkip, vaultTest } from "../support/vault.ts";

const emptyVault = shareVault();
const limits = { timeoutMs: 20_000, unreachableMs: 2000, sealedMs: 1000 };

/** A store with an engine that was just mounted and is still being upgraded. */
async function openVaultStore() {
  const vault = await emptyVault();
  const { status } = await vault.request("POST", "sys/mounts/secret", { type: "kv", options: { version: "2" } });
  assert.equal(status, 204);
  const client = new VaultClient({ address: vault.address, login: tokenLogin(vault.rootToken), limits });
  return { vault, store: new VaultSecretStore(client), async [Symbol.asyncDispose]() {} };
}

testSecretStore("VaultSecretStore", openVaultStore, vaultSkip);

vaultTest("write() treats a soft-deleted secret like a missing one", async () => {
  await using opened = await openVaultStore();
  const { vault, store } = opened;
  await store.write("secret/a/b", { password: "one" }, { cas: 0 });
  await vault.request("DELETE", "secret/data/a/b");
  assert.equal(await store.read("secret/a/b"), undefined);
  assert.equal(await store.write("secret/a/b", { password: "two" }, { cas: 0 }), 2);
  assert.deepEqual(await store.read("secret/a/b"), { data: { password: "two" }, version: 2 });
});

vaultTest("writeMetadata() does not change the secret or its version", async () => {
  await using opened = await openVaultStore();
  const { vault, store } = opened;
  await store.write("secret/a/b", { password: "one" }, { cas: 0 });
  await store.writeMetadata("secret/a/b", { "managed-by": "cqrs-postgres" });
  const { body } = await vault.request("GET", "secret/metadata/a/b");
  assert.deepEqual(body.data.custom_metadata, { "managed-by": "cqrs-postgres" });
  assert.deepEqual(await store.read("secret/a/b"), { data: { password: "one" }, version: 1 });
});

vaultTest("a secret with a value that is not a string is reported", async () => {
  await using opened = await openVaultStore();
  await opened.vault.request("POST", "secret/data/a/b", { data: { port: 5432 } });
  await assert.rejects(opened.store.read("secret/a/b"), { code: "SECRETS_UNUSABLE", exitCode: 2 });
});
