import assert from "node:assert/strict";
import { readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { localVaultAddress } from "../../scripts/lib/stack/local-vault.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack } from "../support/stack.ts";
import { administratorOf, shareVault, vaultTest } from "../support/vault.ts";
import { localVaultSkip, makeVaultStack } from "../support/vault-stack.ts";

type Role = "cqrs-init" | "cqrs-app";

const emptyVault = shareVault();
const secret = "secret/data/cqrs-spike/database";
const advice = /someone else received the secret id of cqrs-\w+ .*secrets rotate --grace 0s --yes/;

/** What a thief does with nothing but HTTP. */
function thiefAt(address: string, folder: string) {
  const ask = async (method: string, path: string, token: string, body: unknown = {}) => {
    const init = {
      method,
      headers: { "X-Vault-Token": token },
      ...(method === "GET" ? {} : { body: JSON.stringify(body) }),
    };
    const response = await fetch(`${address}/v1/${path}`, init);
    return { status: response.status, body: await response.json().catch(() => undefined) };
  };
  return {
    /** Unwraps the delivery, which stays in the folder, and logs in. */
    async steal(role: Role) {
      const wrapped = JSON.parse(await readFile(join(folder, `${role}.wrapped`), "utf8")) as { token: string };
      const { data } = (await ask("POST", "sys/wrapping/unwrap", wrapped.token)).body;
      const role_id = (await readFile(join(folder, `${role}.role-id`), "utf8")).trim();
      const credentials = { role_id, secret_id: data.secret_id };
      const token: string = (await ask("POST", "auth/approle/login", "", credentials)).body.auth.client_token;
      if (role === "cqrs-app") assert.equal((await ask("POST", "auth/token/renew-self", token)).status, 200);
      assert.equal(await this.read(token), 200);
      return { token, logInAgain: async () => (await ask("POST", "auth/approle/login", "", credentials)).status };
    },
    read: async (token: string) => (await ask("GET", secret, token)).status,
  };
}

vaultTest("secrets init revokes the stolen secret id and its renewed token, and advises to rotate", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const options = { ...stack, env: administratorOf(vault) };
  await runForData(["secrets", "init"], options);
  const folder = join(stack.stackDir, "vault/credentials");
  const thief = thiefAt(vault.address, folder);
  // Given to somebody by an administrator: not ours to revoke.
  const own = await vault.request("POST", "auth/approle/role/cqrs-app/secret-id", {});
  const role_id = (await readFile(join(folder, "cqrs-app.role-id"), "utf8")).trim();
  const { body } = await vault.request(
    "POST",
    "auth/approle/login",
    { role_id, secret_id: own.body.data.secret_id },
    "",
  );
  const { token, logInAgain } = await thief.steal("cqrs-app");
  const { exitCode, stdout, stderr } = await runScript(["secrets", "init"], options);
  assert.equal(exitCode, 0, stderr);
  assert.match(stdout, /revoked 1 tokens of cqrs-app, delivered the secret id of cqrs-app/);
  assert.match(stderr, advice);
  assert.deepEqual([await thief.read(token), await logInAgain()], [403, 400]);
  assert.equal(await thief.read(body.auth.client_token), 200);
  const again = await runScript(["secrets", "init"], options);
  assert.match(again.stdout, /nothing to change/);
  assert.doesNotMatch(again.stderr, advice);
});

vaultTest("without an administrator's token, secrets init says what is left, and the next one does it", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const [administrator, script] = [administratorOf(vault), { VAULT_ADDR: vault.address }];
  await runForData(["secrets", "init"], { ...stack, env: administrator });
  const thief = thiefAt(vault.address, join(stack.stackDir, "vault/credentials"));
  const { token, logInAgain } = await thief.steal("cqrs-app");
  for (const details of [/delivered the secret id of cqrs-app/, /nothing to change/]) {
    const { exitCode, stdout, stderr } = await runScript(["secrets", "init"], { ...stack, env: script });
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, details);
    assert.match(stderr, /may not revoke their tokens, .* up to 24 hours: run .*secrets init with VAULT_TOKEN/);
    assert.deepEqual([await thief.read(token), await logInAgain()], [200, 400]);
  }
  const { stdout, stderr } = await runScript(["secrets", "init"], { ...stack, env: administrator });
  assert.match(stdout, /revoked 1 tokens of cqrs-app/);
  assert.match(stderr, advice);
  assert.equal(await thief.read(token), 403);
});

vaultTest(
  "a delivery that was not received in time is replaced without a warning, unless there is a token of it",
  async () => {
    const vault = await emptyVault();
    await using stack = await makeTestStack();
    const folder = join(stack.stackDir, "vault/credentials");
    const options = { ...stack, env: administratorOf(vault) };
    const expire = async () => {
      const file = join(folder, "cqrs-app.wrapped");
      const { token } = JSON.parse(await readFile(file, "utf8")) as { token: string };
      await vault.request("POST", "auth/token/revoke", { token });
      const dayAgo = new Date(Date.now() - 24 * 3600 * 1000);
      await utimes(file, dayAgo, dayAgo);
    };
    await runForData(["secrets", "init"], options);
    await expire();
    const unused = await runScript(["secrets", "init"], options);
    assert.deepEqual([unused.exitCode, advice.test(unused.stderr)], [0, false], unused.stderr);
    assert.match(unused.stdout, /^delivered the secret id of cqrs-app$/m);
    const thief = thiefAt(vault.address, folder);
    const { token } = await thief.steal("cqrs-app");
    await expire();
    assert.match((await runScript(["secrets", "init"], options)).stderr, advice);
    assert.equal(await thief.read(token), 403);
  },
);

vaultTest("a stolen delivery of cqrs-init is revoked with its token, too", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const options = { ...stack, env: administratorOf(vault) };
  await runForData(["secrets", "init"], options);
  const folder = join(stack.stackDir, "vault/credentials");
  // As a run leaves it that was killed before it received its own delivery.
  const body = { metadata: JSON.stringify({ delivery: "killed" }) };
  const headers = { "X-Vault-Token": vault.rootToken, "X-Vault-Wrap-TTL": "1h" };
  const path = `${vault.address}/v1/auth/approle/role/cqrs-init/secret-id`;
  const wrapped = await (await fetch(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
  await rm(join(folder, "cqrs-init.secret-id"));
  const content = JSON.stringify({ token: wrapped.wrap_info.token, delivery: "killed" });
  await writeFile(join(folder, "cqrs-init.wrapped"), content, { mode: 0o600 });
  const thief = thiefAt(vault.address, folder);
  const { token, logInAgain } = await thief.steal("cqrs-init");
  const { stdout, stderr } = await runScript(["secrets", "init"], options);
  assert.match(stdout, /revoked 1 tokens of cqrs-init/);
  assert.match(stderr, advice);
  assert.deepEqual([await thief.read(token), await logInAgain()], [403, 400]);
});

test("a local Vault needs nobody's token for that", { skip: localVaultSkip }, async () => {
  await using stack = await makeVaultStack();
  await stack.data("secrets", "init", "--secrets", "vault");
  const thief = thiefAt(`${localVaultAddress(stack.stackDir)}`, stack.files.credentials);
  const { token, logInAgain } = await thief.steal("cqrs-app");
  const { stdout, stderr } = await stack.run("secrets", "init");
  assert.match(stdout, /revoked 1 tokens of cqrs-app, delivered the secret id of cqrs-app/, stderr);
  assert.match(stderr, advice);
  assert.deepEqual([await thief.read(token), await logInAgain()], [403, 400]);
});
