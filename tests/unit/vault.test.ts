import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { renderSecret } from "../../scripts/lib/secrets/render.ts";
import { connectionFailure, responseFailure, VaultFailure } from "../../scripts/lib/secrets/vault/failure.ts";
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

test("responseFailure() masks tokens in Vault's message", () => {
  const token = "hvs.CAESIJQ1aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789";
  const body = { errors: [`2 errors occurred:\n\t* bad ${token}\n\t* other\n\n`] };
  const failure = responseFailure({ status: 400, retryAfter: "2", body });
  assert.deepEqual([failure.status, failure.retryAfterMs, failure.text], [400, 2000, "bad **** other"]);
  for (const view of viewsOf(failure)) assert.ok(!view.includes(token), view);
});

test("connectionFailure() keeps nothing of the request", () => {
  const token = "hvs.CAESIJQ1aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789";
  const config = { headers: { "X-Vault-Token": token }, data: '{"password":"hidden"}' };
  const error = Object.assign(new Error(`request with ${token} failed`, { cause: config }), { config });
  const failure = connectionFailure(error, false);
  assert.deepEqual([failure.kind, failure.code], ["network", "request with **** failed"]);
  for (const view of viewsOf(failure)) assert.ok(!view.includes(token) && !view.includes("hidden"), view);
});

function viewsOf(failure: VaultFailure): string[] {
  return [inspect(failure, { depth: 9, showHidden: true }), JSON.stringify(failure), `${failure.stack}`];
}

test("no path escapes the API", async () => {
  const transport = await openTransport({ address: "http://127.0.0.1:1" });
  for (const path of ["secret/data/../../sys/seal-status", "secret//data", "secret/a b", "a?list=true", "a%2f", ""]) {
    await assert.rejects(transport({ method: "GET", path }), /not a valid path in Vault/);
  }
  assert.ok(badSecretPaths.includes("secret/../../a"), "the store refuses it earlier");
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
