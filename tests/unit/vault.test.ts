import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { renderSecret } from "../../scripts/lib/secrets/render.ts";
import { toVaultFailure, VaultFailure } from "../../scripts/lib/secrets/vault/failure.ts";
import { retryLimitMs, withRetries } from "../../scripts/lib/secrets/vault/retry.ts";
import { openTransport } from "../../scripts/lib/secrets/vault/transport.ts";
import { badSecretPaths } from "../support/secret-store-contract.ts";

const limits = { timeoutMs: 3, unreachableMs: 2, sealedMs: 1 };
const http = (status: number, text = "") => new VaultFailure({ kind: "http", status, text });

/** How long to retry each failure, in units of the limits above; last, for a request that is not idempotent. */
const table: readonly (readonly [what: string, failure: VaultFailure, waits: number, waitsOnce: number])[] = [
  ["refused", new VaultFailure({ kind: "network", code: "ECONNREFUSED" }), 2, 2],
  ["reset", new VaultFailure({ kind: "network", code: "ECONNRESET" }), 2, 0],
  ["no answer", new VaultFailure({ kind: "timeout" }), 3, 0],
  ["certificate", new VaultFailure({ kind: "certificate" }), 0, 0],
  ["sealed", http(503), 1, 1],
  ["412", http(412), 3, 3],
  ["429", http(429), 3, 3],
  ["500", http(500), 3, 0],
  ["502", http(502), 3, 0],
  ["KV upgrade", http(400, "Upgrading from non-versioned to versioned data"), 3, 3],
  ["compare-and-set", http(400, "check-and-set parameter did not match the current version"), 0, 0],
  ["redirect", http(307), 0, 0],
  ["forbidden", http(403), 0, 0],
  ["not found", http(404), 0, 0],
];

for (const [what, failure, waits, waitsOnce] of table) {
  test(`retryLimitMs(): ${what}`, () => {
    assert.equal(retryLimitMs(failure, limits, true), waits);
    assert.equal(retryLimitMs(failure, limits, false), waitsOnce);
  });
}

test("withRetries() stops immediately when it is aborted", async () => {
  const controller = new AbortController();
  const options = { limits: { ...limits, timeoutMs: 60_000 }, signal: controller.signal };
  const work = withRetries(() => Promise.reject(http(429)), options);
  controller.abort();
  await assert.rejects(work, { name: "AbortError" });
});

test("withRetries() does not retry an error that is not a failure of Vault", async () => {
  let attempts = 0;
  const send = () => {
    attempts++;
    return Promise.reject(new TypeError("a bug"));
  };
  await assert.rejects(withRetries(send, { limits }), TypeError);
  assert.equal(attempts, 1);
});

test("toVaultFailure() keeps nothing of the request, and masks tokens in Vault's message", () => {
  const token = "hvs.CAESIJQ1aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789";
  const failure = toVaultFailure({
    message: `Request with ${token} failed`,
    config: { headers: { "X-Vault-Token": token }, data: '{"password":"hidden"}' },
    response: {
      status: 400,
      headers: { "retry-after": "2" },
      config: { headers: { "X-Vault-Token": token } },
      data: { errors: [`2 errors occurred:\n\t* bad ${token}\n\t* other\n\n`] },
    },
  });
  assert.deepEqual([failure.status, failure.retryAfterMs, failure.text], [400, 2000, "bad **** other"]);
  for (const view of [inspect(failure, { depth: 9, showHidden: true }), JSON.stringify(failure), `${failure.stack}`]) {
    assert.ok(!view.includes(token) && !view.includes("hidden"), view);
  }
});

test("no path escapes the API: the library would send ../ unencoded", async () => {
  const transport = await openTransport({ address: "http://127.0.0.1:1" });
  for (const path of ["secret/data/../../sys/seal-status", "secret//data", "secret/a b", "a?list=true", "a%2f", ""]) {
    await assert.rejects(transport({ method: "GET", path }), /not a valid path in Vault/);
  }
  assert.ok(badSecretPaths.includes("secret/../../a"), "the store refuses it earlier");
});

test("only one module imports hashi-vault-js", async () => {
  const folder = join(assetsDir, "scripts");
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".ts"));
  const users: string[] = [];
  for (const name of names) {
    if (/(from|import\() ?"hashi-vault-js/.test(await readFile(join(folder, name), "utf8"))) users.push(name);
  }
  assert.deepEqual(users, ["lib/secrets/vault/transport.ts"]);
});

const data = {
  username: "me",
  password: "p'w\\1",
  url: "jdbc:postgresql://h:1/d",
  "driver-class-name": "org.postgresql.Driver",
  host: "h",
  port: "1",
  database: "d",
  uri: "postgres://me:p%27w%5C1@h:1/d",
  "added by somebody": "p'w\\1",
};

test("renderSecret() masks every value that may be a password", () => {
  for (const format of ["plain", "env", "spring"] as const) {
    const text = JSON.stringify(renderSecret(data, { format, reveal: false }));
    assert.doesNotMatch(text, /p'w|p%27w/);
    assert.match(text, /\*\*\*\*/);
  }
});

test("renderSecret() quotes for the shell and for a properties file", () => {
  const lines = (format: "env" | "spring") => renderSecret(data, { format, reveal: true }).map(({ line }) => line);
  assert.ok(lines("env").includes("export PGPASSWORD='p'\\''w\\1'"));
  assert.deepEqual(lines("spring"), [
    "spring.datasource.url=jdbc:postgresql://h:1/d",
    "spring.datasource.username=me",
    "spring.datasource.password=p'w\\\\1",
    "spring.datasource.driver-class-name=org.postgresql.Driver",
  ]);
});
