import assert from "node:assert/strict";
import { test } from "node:test";
import { exitCodes } from "../../scripts/lib/cli/script-error.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { ensureApplicationSecret, secretPaths, switchLogin } from "../../scripts/lib/secrets/application-secret.ts";
import { ensureSecret, SecretConflict, type SecretStore, type SecretVersion } from "../../scripts/lib/secrets/store.ts";
import type { TlsSettings } from "../../scripts/lib/server-url.ts";
import { searchPath } from "../../scripts/lib/stack/database.ts";
import { defaultContract, exitCodeContract, roleContract, secretContract } from "./contracts.ts";

const endpoint = { host: "127.0.0.1", port: 5432, database: "cqrs_db", username: "cqrs_user" };

/** A secret store in memory. */
function memoryStore(): SecretStore {
  const secrets = new Map<string, SecretVersion>();
  const store: SecretStore = {
    read: async (path) => secrets.get(path),
    async write(path, data, { cas }) {
      const newest = secrets.get(path)?.version ?? 0;
      if (newest !== cas) throw new SecretConflict(path, cas, newest);
      secrets.set(path, { data, version: newest + 1 });
      return newest + 1;
    },
    ensure: (path, make) => ensureSecret(store, path, make),
    status: async () => ({ kind: "file", location: "memory", isReady: true }),
    async close() {},
    async [Symbol.asyncDispose]() {},
  };
  return store;
}

test("exit codes match the contract", () => assert.deepEqual(exitCodes, exitCodeContract));

test("names of group roles match the contract", () => assert.deepEqual(groupRoles, roleContract));

test("the search path matches the contract", () => assert.equal(searchPath, defaultContract.searchPath));

test("paths of secrets match the contract", () => assert.deepEqual(secretPaths, secretContract.paths));

test("ensureApplicationSecret() writes every key of the contract to both paths", async () => {
  const store = memoryStore();
  const { secret, isChanged } = await ensureApplicationSecret(store, endpoint, "pass/word");
  assert.equal(isChanged, true);
  for (const path of [secretPaths.application, secretPaths.applicationLocal]) {
    assert.deepEqual((await store.read(path))?.data, secret);
    assert.deepEqual(Object.keys(secret), [...secretContract.keys]);
  }
  assert.deepEqual(secret, {
    username: "cqrs_user",
    password: "pass/word",
    url: "jdbc:postgresql://127.0.0.1:5432/cqrs_db",
    "driver-class-name": "org.postgresql.Driver",
    host: "127.0.0.1",
    port: "5432",
    database: "cqrs_db",
    uri: "postgres://cqrs_user:pass%2Fword@127.0.0.1:5432/cqrs_db",
  });
});

test("ensureApplicationSecret() is idempotent", async () => {
  const store = memoryStore();
  const first = await ensureApplicationSecret(store, endpoint);
  assert.match(first.secret.password, /^[A-Za-z0-9]{32}$/);
  assert.deepEqual(await ensureApplicationSecret(store, endpoint), { secret: first.secret, isChanged: false });
  assert.equal((await store.read(secretPaths.application))?.version, 1);
});

test("ensureApplicationSecret() keeps the password and unknown keys when the server moves", async () => {
  const store = memoryStore();
  await store.write(secretPaths.application, { password: "kept", note: "ours" }, { cas: 0 });
  const { secret } = await ensureApplicationSecret(store, { ...endpoint, host: "::1", port: 6543 });
  assert.equal(secret.uri, "postgres://cqrs_user:kept@[::1]:6543/cqrs_db");
  assert.equal((await store.read(secretPaths.application))?.data["note"], "ours");
});

test("ensureApplicationSecret() writes the server's TLS settings in libpq's terms, and pgjdbc's to its URL", async () => {
  const store = memoryStore();
  const secretOf = async (tls: TlsSettings) => (await ensureApplicationSecret(store, { ...endpoint, ...tls })).secret;
  const full = await secretOf({ tls: "verify-full", tlsRootCert: "/etc/my ca.pem" });
  const parameters = "?sslmode=verify-full&sslrootcert=%2Fetc%2Fmy%20ca.pem";
  assert.deepEqual(Object.keys(full), [...secretContract.keys, ...secretContract.tlsKeys]);
  assert.deepEqual([full.sslmode, full.sslrootcert], ["verify-full", "/etc/my ca.pem"]);
  assert.equal(full.url, `jdbc:postgresql://127.0.0.1:5432/cqrs_db${parameters}`);
  assert.ok(full.uri.endsWith(`@127.0.0.1:5432/cqrs_db${parameters}`), full.uri);

  const ofSystem = await secretOf({ tls: "verify-full", tlsRootCert: "system" });
  assert.match(ofSystem.url, /\?sslmode=verify-full&sslfactory=org\.postgresql\.ssl\.DefaultJavaSSLFactory$/);
  assert.match(ofSystem.uri, /\?sslmode=verify-full&sslrootcert=system$/);

  const disabled = await secretOf({ tls: "disable" });
  assert.deepEqual([disabled.sslmode, disabled.sslrootcert], ["disable", undefined]);
  assert.match(disabled.uri, /\/cqrs_db$/);
  const { password } = disabled;
  await switchLogin(store, { data: disabled, version: 3 }, { username: "cqrs_user_b", password });
  assert.equal((await store.read(secretPaths.application))?.data["sslmode"], "disable");

  const preferred = await secretOf({ tls: "prefer", tlsRootCert: "/etc/ca.pem" });
  assert.equal(preferred.sslmode, "prefer");
  assert.match(`${preferred.uri} ${preferred.url}`, /\/cqrs_db .*\/cqrs_db$/, "node-postgres would demand TLS");

  const unknown = await secretOf({});
  assert.deepEqual(Object.keys(unknown).sort(), [...secretContract.keys].sort());
});

test("ensureApplicationSecret() replaces the password with a configured one", async () => {
  const store = memoryStore();
  await ensureApplicationSecret(store, endpoint);
  const { secret, isChanged } = await ensureApplicationSecret(store, endpoint, "configured");
  assert.deepEqual([secret.password, isChanged], ["configured", true]);
  assert.equal((await store.read(secretPaths.applicationLocal))?.data["password"], "configured");
});

test("concurrent calls of ensureApplicationSecret() agree on one password", async () => {
  const store = memoryStore();
  const results = await Promise.all(Array.from({ length: 20 }, () => ensureApplicationSecret(store, endpoint)));
  const passwords = new Set(results.map(({ secret }) => secret.password));
  assert.deepEqual([...passwords], [(await store.read(secretPaths.application))?.data["password"]]);
  assert.deepEqual(await store.read(secretPaths.applicationLocal), await store.read(secretPaths.application));
});
