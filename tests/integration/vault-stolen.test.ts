import assert from "node:assert/strict";
import { readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { forgetLossBefore, readLoss } from "../../scripts/lib/secrets/vault/delivery.ts";
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
    /** Creates another secret id, as the AppRole of the scripts may, and logs in with it. */
    async mint(role: Role, token: string, delivery?: string) {
      const body = delivery === undefined ? {} : { metadata: JSON.stringify({ delivery }) };
      const made = (await ask("POST", `auth/approle/role/${role}/secret-id`, token, body)).body;
      const { role_id } = (await ask("GET", `auth/approle/role/${role}/role-id`, token)).body.data;
      const credentials = { role_id, secret_id: made.data.secret_id };
      const logIn = () => ask("POST", "auth/approle/login", "", credentials);
      const minted: string = (await logIn()).body.auth.client_token;
      assert.equal(await this.read(minted), 200);
      return { token: minted, logInAgain: async () => (await logIn()).status };
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
  const minted = [
    await thief.mint("cqrs-init", token),
    await thief.mint("cqrs-app", token),
    await thief.mint("cqrs-app", token, "chosen-by-the-thief"),
  ];
  const refused = await runScript(["secrets", "init"], { ...stack, env: { VAULT_ADDR: vault.address } });
  assert.notEqual(refused.exitCode, 0, "the folder has no login");
  const { stdout, stderr } = await runScript(["secrets", "init"], options);
  assert.match(stdout, /revoked \d+ secret ids and tokens of cqrs-init and cqrs-app, delivered .* of cqrs-init/);
  assert.match(stdout, /delivered the secret id of cqrs-app/);
  assert.match(stderr, advice);
  assert.match(stderr, /all of both roles were destroyed: run bun run secrets init wherever else/);
  assert.match(stderr, /could read the key of encrypted archives/);
  for (const stolen of [{ token, logInAgain }, ...minted])
    assert.deepEqual([await thief.read(stolen.token), await stolen.logInAgain()], [403, 400]);
  await thief.steal("cqrs-app");
  const again = await runScript(["secrets", "init"], options);
  assert.match(again.stdout, /^revoked 1 tokens of cqrs-app, /m, "the new delivery is valid, and the loss is over");
});

vaultTest("a theft that is noticed after a day is warned of if its tokens cannot be revoked", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["secrets", "init"], { ...stack, env: administratorOf(vault) });
  const folder = join(stack.stackDir, "vault/credentials");
  const thief = thiefAt(vault.address, folder);
  const { token, logInAgain } = await thief.steal("cqrs-app");
  const dayAgo = new Date(Date.now() - 25 * 3600 * 1000);
  await utimes(join(folder, "cqrs-app.wrapped"), dayAgo, dayAgo);
  for (const run of ["first", "again"]) {
    const { stderr } = await runScript(["secrets", "init"], { ...stack, env: { VAULT_ADDR: vault.address } });
    assert.match(stderr, /cqrs-app was not received in time, or by someone else, and this login may not revoke/, run);
    assert.deepEqual([await thief.read(token), await logInAgain()], [200, 400], run);
  }
  const { stdout, stderr } = await runScript(["secrets", "init"], { ...stack, env: administratorOf(vault) });
  assert.match(stdout, /revoked 1 tokens of cqrs-app/);
  assert.match(stderr, advice);
});

test("a loss is forgotten once the Vault of the containers has written credentials after it", async () => {
  await using stack = await makeTestStack();
  const [lost, written] = [join(stack.stackDir, "cqrs-app.lost"), join(stack.stackDir, "written")];
  for (const file of [lost, written]) await writeFile(file, "taken\n");
  const [earlier, later] = [new Date(Date.now() - 2000), new Date(Date.now() - 1000)];
  await utimes(lost, later, later);
  await utimes(written, earlier, earlier);
  await forgetLossBefore(stack.stackDir, "cqrs-app", written);
  assert.equal(await readLoss(stack.stackDir, "cqrs-app"), "taken");
  await utimes(lost, earlier, earlier);
  await utimes(written, later, later);
  await forgetLossBefore(stack.stackDir, "cqrs-app", written);
  assert.equal(await readLoss(stack.stackDir, "cqrs-app"), undefined);
  await forgetLossBefore(stack.stackDir, "cqrs-app", written);
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
