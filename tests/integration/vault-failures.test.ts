import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import type { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { tokenFileLogin, tokenLogin } from "../../scripts/lib/secrets/vault/authentication.ts";
import { VaultClient, type VaultClientOptions } from "../../scripts/lib/secrets/vault/client.ts";
import { VaultSecretStore } from "../../scripts/lib/secrets/vault/store.ts";
import { unusedPort } from "../support/port.ts";
import { runForData, runScript, type ScriptRun } from "../support/run-script.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";
import { administratorOf, shareVault, type TestVault, vaultTest } from "../support/vault.ts";
import { openVaultProxy, type Treatment } from "../support/vault-proxy.ts";

const emptyVault = shareVault();
const secret = "secret/cqrs-spike/database";
const password = "Never-To-Be-Seen-1";
const patient = { timeoutMs: 30_000, unreachableMs: 30_000, sealedMs: 30_000 };
/** A client gives up soon, unless a request is answered late: that may be due to this process. */
const hasty = { limits: { timeoutMs: 900, unreachableMs: 500, sealedMs: 500 }, requestTimeoutMs: 10_000 };
const onlyPatient = { limits: patient };

/** A Vault with a secret, reached through a proxy. */
async function openThroughProxy(
  options: Pick<VaultClientOptions, "limits" | "requestTimeoutMs"> = onlyPatient,
  tls?: { readonly cert: string; readonly key: string },
) {
  const vault = await emptyVault();
  await vault.request("POST", "sys/mounts/secret", { type: "kv", options: { version: "2" } });
  const proxy = await openVaultProxy(vault.address, tls);
  const login = tokenLogin(vault.rootToken);
  const client = new VaultClient({ address: proxy.address, login, ...options });
  const store = new VaultSecretStore(client);
  const direct = new VaultSecretStore(new VaultClient({ address: vault.address, login, limits: patient }));
  await direct.write(secret, { password }, { cas: 0 });
  return { vault, proxy, store, direct, [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose]() };
}

/** Fails the given number of requests, then passes everything. */
function failing(times: number, treatment: Treatment): () => Treatment {
  let left = times;
  return () => (left-- > 0 ? treatment : "pass");
}

function assertFailure({ exitCode, stdout, stderr }: ScriptRun, code: number, text: RegExp, vault?: TestVault): void {
  assert.deepEqual([exitCode, stdout], [code, ""], stderr);
  assert.match(stderr, text);
  assert.match(stderr, /\n {2}fix: /);
  if (vault !== undefined) assert.ok(!stderr.includes(vault.rootToken), stderr);
}

for (const { name, treatment } of [
  { name: "412, a replica that lags", treatment: { status: 412 } },
  { name: "429", treatment: { status: 429, headers: { "retry-after": "0" } } },
  { name: "500", treatment: { status: 500 } },
  { name: "502", treatment: { status: 502 } },
  { name: "503, while it unseals", treatment: { status: 503, body: { errors: ["Vault is sealed"] } } },
  {
    name: "400, while KV is upgraded",
    treatment: {
      status: 400,
      body: {
        errors: ["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period"],
      },
    },
  },
] as const) {
  vaultTest(`a transient failure is retried: ${name}`, async () => {
    await using opened = await openThroughProxy();
    opened.proxy.treat(failing(2, treatment));
    assert.deepEqual((await opened.store.read(secret))?.data, { password });
    assert.equal(opened.proxy.seen.length, 3);
  });
}

vaultTest("a write whose answer was lost is recognised as our own", async () => {
  await using opened = await openThroughProxy();
  opened.proxy.treat(failing(1, "lose-answer"));
  assert.equal(await opened.store.write(secret, { password: "two" }, { cas: 1 }), 2);
  assert.deepEqual(await opened.direct.read(secret), { data: { password: "two" }, version: 2 });
});

for (const { name, treatment, code, exitCode } of [
  { name: "never answers", treatment: "mute", code: "VAULT_TIMEOUT", exitCode: 124 },
  { name: "limits the rate", treatment: { status: 429 }, code: "VAULT_RATE_LIMITED", exitCode: 124 },
  { name: "fails", treatment: { status: 500 }, code: "VAULT_ERROR", exitCode: 3 },
  { name: "is sealed", treatment: { status: 503 }, code: "VAULT_SEALED", exitCode: 3 },
  {
    name: "redirects",
    treatment: { status: 307, headers: { location: "http://127.0.0.1:1/" } },
    code: "VAULT_REDIRECT",
    exitCode: 2,
  },
  {
    name: "knows no token",
    treatment: { status: 403, body: { errors: ["permission denied", "invalid token"] } },
    code: "VAULT_TOKEN_REFUSED",
    exitCode: 6,
  },
] as const) {
  vaultTest(`a Vault that ${name}: ${code}, exit ${exitCode}, with no token or secret in the error`, async () => {
    await using opened = await openThroughProxy(treatment === "mute" ? { limits: hasty.limits } : hasty);
    opened.proxy.treat(() => treatment);
    const read = () => opened.store.read(secret);
    const write = () => opened.store.write(secret, { password: "another-secret" }, { cas: 1 });
    for (const work of [read, write]) {
      const error = await work().then(
        () => assert.fail("it passed"),
        (reason: unknown) => reason as ScriptError,
      );
      assert.deepEqual([error.code, error.exitCode], [code, exitCode]);
      assert.ok((error.fix ?? "").length > 10);
      const seen = inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error) + error.stack;
      for (const hidden of [opened.vault.rootToken, password, "another-secret"])
        assert.ok(!seen.includes(hidden), seen);
    }
    assert.deepEqual(await opened.direct.read(secret), { data: { password }, version: 1 });
  });
}

vaultTest("Retry-After is honoured, but never beyond the timeout", async () => {
  await using opened = await openThroughProxy();
  opened.proxy.treat(failing(1, { status: 429, headers: { "retry-after": "1" } }));
  const startedAt = performance.now();
  await opened.store.read(secret);
  assert.ok(performance.now() - startedAt >= 990);
  opened.proxy.treat(() => ({ status: 429, headers: { "retry-after": "3600" } }));
  await assert.rejects(opened.store.read(secret), { code: "VAULT_RATE_LIMITED" });
});

vaultTest("a renewed token file is read again", async () => {
  await using opened = await openThroughProxy();
  const { vault } = opened;
  await using folder = await openFolder();
  const file = join(folder.path, "token");
  const policy = `path "secret/data/cqrs-spike/*" { capabilities = ["read"] }`;
  const [first, second] = [await vault.tokenFor(policy), await vault.tokenFor(policy)];
  await writeFile(file, `${first}\n`);
  const store = new VaultSecretStore(
    new VaultClient({ address: vault.address, login: tokenFileLogin(file), limits: patient }),
  );
  assert.equal((await store.read(secret))?.version, 1);
  await vault.request("POST", "auth/token/revoke", { token: first });
  await assert.rejects(store.read(secret), { code: "VAULT_TOKEN_REFUSED", exitCode: 6 });
  await writeFile(file, `${second}\n`);
  assert.equal((await store.read(secret))?.version, 1);
});

vaultTest("TLS with a private authority requires VAULT_CACERT, and rejects other certificates", async () => {
  await using temporary = await openFolder();
  const folder = temporary.path;
  const pem = (name: string) => readFile(join(folder, name), "utf8");
  for (const name of ["ours", "other"]) makeCertificate(folder, name);
  await using opened = await openThroughProxy(onlyPatient, { cert: await pem("ours.pem"), key: await pem("ours.key") });
  const read = (caCertFile?: string) => {
    const login = tokenLogin(opened.vault.rootToken);
    return new VaultSecretStore(
      new VaultClient({ address: opened.proxy.address, caCertFile, login, limits: patient }),
    ).read(secret);
  };
  assert.equal((await read(join(folder, "ours.pem")))?.version, 1);
  await assert.rejects(read(), { code: "VAULT_CERTIFICATE", exitCode: 2 });
  await assert.rejects(read(join(folder, "other.pem")), { code: "VAULT_CERTIFICATE", exitCode: 2 });
  await assert.rejects(read(join(folder, "absent.pem")), { code: "VAULT_CACERT", exitCode: 2 });
  await assert.rejects(read(join(folder, "ours.key")), { code: "VAULT_CACERT", exitCode: 2 });
});

vaultTest("scripts report what is wrong with Vault and how to fix it, and write nothing", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const env = administratorOf(vault);
  await runForData(["bootstrap"], { ...stack, env });
  const before = await snapshot(vault, stack);
  const bootstrap = (more: Record<string, string>) =>
    runScript(["bootstrap", "--quiet"], { ...stack, env: { ...env, ...more } });

  const gone = `http://127.0.0.1:${await unusedPort()}`;
  assertFailure(await bootstrap({ VAULT_ADDR: gone, CQRS_TIMEOUT: "3s" }), 3, /is unreachable/, vault);
  assertFailure(await bootstrap({ VAULT_TOKEN: "hvs.unknown" }), 6, /rejected the token \(from VAULT_TOKEN\)/, vault);
  const reader = await vault.tokenFor(`path "secret/data/cqrs-spike/*" { capabilities = ["read"] }`);
  const narrow = await bootstrap({ VAULT_TOKEN: reader, POSTGRES_PASSWORD: "Another1" });
  assertFailure(
    narrow,
    6,
    /is not allowed to POST secret\/data\/cqrs-spike\/database[\s\S]*capabilities = \["create", "update"\]/,
    vault,
  );
  await using proxy = await openVaultProxy(vault.address);
  proxy.treat(() => ({ status: 429 }));
  assertFailure(
    await bootstrap({ VAULT_ADDR: proxy.address, CQRS_TIMEOUT: "3s" }),
    124,
    /429, too many requests/,
    vault,
  );
  proxy.treat(() => "mute");
  assertFailure(
    await bootstrap({ VAULT_ADDR: proxy.address, CQRS_TIMEOUT: "3s" }),
    124,
    /did not answer GET sys\/mounts\/secret in time/,
    vault,
  );
  await vault.seal();
  assertFailure(
    await bootstrap({ CQRS_TIMEOUT: "3s" }),
    3,
    /is sealed, or not initialised[\s\S]*vault operator unseal/,
    vault,
  );
  await vault.unseal();
  assert.deepEqual(await snapshot(vault, stack), before);
  assert.equal((await runForData<{ isChanged: boolean }>(["bootstrap"], { ...stack, env })).isChanged, false);
});

/** Everything that a failed run could have changed. */
async function snapshot(vault: TestVault, stack: TestStack): Promise<unknown> {
  const { body } = await vault.request("GET", "secret/data/cqrs-spike/database");
  const { username, password: stored, port, database } = body.data.data;
  await using connection = openConnection({
    host: "127.0.0.1",
    port: Number(port),
    database,
    user: username,
    password: stored,
  });
  await connection.sql`select 1`;
  return [body.data, await readFile(join(stack.stackDir, "state.json"), "utf8")];
}

async function openFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "cqrs-vault-files-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function makeCertificate(folder: string, name: string): void {
  const files = ["-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.pem`)];
  const options = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-nodes"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", ...files, ...options], { stdio: "ignore" });
}
