import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { type Config, type ConfigFlags, loadConfig } from "../../scripts/lib/config.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";

/** Loads only what is passed: no environment, no `.env`. */
function load(environment: Readonly<Record<string, string>>, flags: ConfigFlags = {}): Config {
  return loadConfig(flags, { environment, dotEnvFile: join(assetsDir, "absent.env") });
}

function problemsOf(environment: Readonly<Record<string, string>>, flags: ConfigFlags = {}): string[] {
  try {
    load(environment, flags);
  } catch (error) {
    assert.ok(error instanceof ScriptError);
    assert.deepEqual([error.code, error.exitCode], ["CONFIGURATION", 2]);
    return (error.why ?? "").split("\n");
  }
  return [];
}

test("loadConfig() has a default for every setting that needs one", () => {
  assert.deepEqual(load({}), {
    mode: undefined,
    projectDir: assetsDir,
    stackDir: `${assetsDir}/infrastructure`,
    sqlDir: `${assetsDir}/sql/app`,
    port: undefined,
    localPort: undefined,
    applicationSecret: "database-local",
    database: undefined,
    user: undefined,
    password: undefined,
    graceMs: 3_600_000,
    timeoutMs: 60_000,
    externalServer: undefined,
    externalTls: {},
    secrets: undefined,
    vault: undefined,
    externalServerProblems: [],
    warnings: [],
  });
});

test("loadConfig() ignores variables of other projects in embedded mode", () => {
  const { externalServerProblems } = load({ DATABASE_URL: "mysql://db/x", PGSSLMODE: "verify" });
  assert.deepEqual(
    externalServerProblems.map((problem) => problem.split(" ")[0]),
    ["DATABASE_URL", "PGSSLMODE"],
  );
});

test("loadConfig() reads every variable of the stack", () => {
  const config = load({
    CQRS_MODE: "external",
    CQRS_STACK_DIR: "/srv/stack",
    CQRS_SQL_DIR: "db",
    POSTGRES_PORT: "6543",
    POSTGRES_DB: "orders.db",
    POSTGRES_USER: 'a "user"',
    POSTGRES_PASSWORD: "with space & $",
    CQRS_TIMEOUT: "250ms",
  });
  assert.equal(config.mode, "external");
  assert.equal(config.stackDir, "/srv/stack");
  assert.equal(config.sqlDir, `${assetsDir}/db`);
  assert.equal(config.port, 6543);
  assert.equal(config.database, "orders.db");
  assert.equal(config.user, 'a "user"');
  assert.equal(config.password, "with space & $");
  assert.equal(config.timeoutMs, 250);
});

test("loadConfig() prefers a flag to the environment", () => {
  const environment = { CQRS_MODE: "external", POSTGRES_PORT: "1", POSTGRES_DB: "a", POSTGRES_USER: "b" };
  const flags = { mode: "embedded", port: "2", database: "c", user: "d", timeout: "5m" };
  const { mode, port, database, user, timeoutMs } = load({ ...environment, CQRS_TIMEOUT: "1s" }, flags);
  assert.deepEqual([mode, port, database, user, timeoutMs], ["embedded", 2, "c", "d", 300_000]);
});

test("loadConfig() reads hours and days", () => {
  const { timeoutMs, graceMs } = load({ CQRS_GRACE: "7d" }, { timeout: "2h" });
  assert.deepEqual([timeoutMs, graceMs], [7_200_000, 604_800_000]);
});

test("loadConfig() treats an empty variable as absent", () => {
  assert.deepEqual(load({ CQRS_STACK_DIR: "", POSTGRES_PORT: "", POSTGRES_DB: "", DATABASE_URL: "" }), load({}));
});

test("loadConfig() resolves a relative stack directory from the project", () => {
  assert.equal(load({ CQRS_STACK_DIR: "elsewhere" }).stackDir, `${assetsDir}/elsewhere`);
});

const wrong: readonly (readonly [variable: string, value: string, problem: string])[] = [
  ["CQRS_MODE", "docker", "CQRS_MODE must be embedded, compose or external"],
  ["POSTGRES_PORT", "0", "POSTGRES_PORT must be a number from 1 to 65535"],
  ["POSTGRES_PORT", "65536", "POSTGRES_PORT must be a number from 1 to 65535"],
  ["POSTGRES_PORT", "5432 ", "POSTGRES_PORT must be a number from 1 to 65535"],
  ["POSTGRES_DB", "é".repeat(32), "POSTGRES_DB must have at most 63 bytes"],
  ["POSTGRES_USER", "u".repeat(62), "POSTGRES_USER must have at most 61 bytes"],
  ["POSTGRES_DB", "a\nb", "POSTGRES_DB must not contain control characters"],
  ["POSTGRES_DB", "template1", "POSTGRES_DB must not be one of postgres, template0, template1"],
  [
    "POSTGRES_USER",
    "postgres",
    "POSTGRES_USER must not be a reserved role: " + "postgres, cqrs_owner, cqrs_app, cqrs_vault, public, none or pg_*",
  ],
  [
    "POSTGRES_PASSWORD",
    "pässword",
    "POSTGRES_PASSWORD must consist of printable ASCII characters, because clients hash others differently",
  ],
  ["CQRS_TIMEOUT", "60", "CQRS_TIMEOUT must be a duration such as 500ms, 60s, 5m, 2h or 7d"],
  ["CQRS_TIMEOUT", "25d", "CQRS_TIMEOUT must be at most 24d"],
  ["CQRS_GRACE", "1w", "CQRS_GRACE must be a duration such as 500ms, 60s, 5m, 2h or 7d"],
  ["CQRS_GRACE", "366d", "CQRS_GRACE must be at most 365d"],
  [
    "DATABASE_URL",
    "mysql://db/x",
    "DATABASE_URL must be a URL such as postgres://user:password@host:5432/database, special characters percent-encoded",
  ],
  [
    "DATABASE_URL",
    "postgres://me:100%@db/x",
    "DATABASE_URL must be a URL such as postgres://user:password@host:5432/database, special characters percent-encoded",
  ],
  [
    "DATABASE_URL",
    "postgres://db/x?sslmode=maybe",
    "DATABASE_URL (sslmode) must be disable, allow, prefer, require, verify-ca or verify-full",
  ],
  ["PGPORT", "five", "PGPORT must be a number from 1 to 65535"],
  ["PGSSLMODE", "verify", "PGSSLMODE must be disable, allow, prefer, require, verify-ca or verify-full"],
  ["VAULT_ADDR", "vault:8200", "VAULT_ADDR must be an http:// or https:// URL"],
];

for (const [variable, value, problem] of wrong) {
  test(`loadConfig() refuses ${variable}=${JSON.stringify(value)}`, () => {
    assert.deepEqual(problemsOf({ CQRS_MODE: "external", [variable]: value }), [problem]);
  });
}

test("loadConfig() reports all problems together", () => {
  const problems = problemsOf(
    { CQRS_MODE: "external", POSTGRES_DB: "postgres", PGPORT: "x" },
    { port: "x", timeout: "soon" },
  );
  assert.deepEqual(
    problems.map((problem) => problem.split(" must ")[0]),
    ['--port "x"', "POSTGRES_DB", '--timeout "soon"', "PGPORT"],
  );
});

test("loadConfig() never repeats a password in an error", () => {
  for (const variable of ["POSTGRES_PASSWORD", "DATABASE_URL"]) {
    const problems = problemsOf({ CQRS_MODE: "external", [variable]: "sécret%", POSTGRES_PORT: "x" }).join("\n");
    assert.match(problems, new RegExp(variable));
    assert.doesNotMatch(problems, /cret%/);
  }
});

test("loadConfig() parses DATABASE_URL", () => {
  const url = "postgresql://me%40work:p%2Fw@[::1]:6543/or%20ders?sslmode=verify-full";
  assert.deepEqual(load({ DATABASE_URL: url }).externalServer, {
    host: "::1",
    port: 6543,
    user: "me@work",
    password: "p/w",
    database: "or ders",
    tls: "verify-full",
  });
});

test("loadConfig() completes DATABASE_URL with the PG* variables", () => {
  const environment = { PGHOST: "unused", PGPORT: "6543", PGUSER: "me", PGPASSWORD: "pw", PGSSLMODE: "require" };
  assert.deepEqual(load({ DATABASE_URL: "postgres://db", ...environment, PGDATABASE: "orders" }).externalServer, {
    host: "db",
    port: 6543,
    user: "me",
    password: "pw",
    database: "orders",
    tls: "require",
  });
});

test("loadConfig() reads the root certificate from DATABASE_URL, else PGSSLROOTCERT, relative to the project", () => {
  const tlsOf = (environment: Readonly<Record<string, string>>) => {
    const { externalServer, externalTls } = load(environment);
    assert.deepEqual([externalServer?.tls, externalServer?.tlsRootCert], [externalTls.tls, externalTls.tlsRootCert]);
    return externalTls;
  };
  const variables = { PGSSLMODE: "verify-ca", PGSSLROOTCERT: "ca.pem" };
  assert.deepEqual(tlsOf({ DATABASE_URL: "postgres://db", ...variables }), {
    tls: "verify-ca",
    tlsRootCert: join(assetsDir, "ca.pem"),
  });
  const url = "postgres://db/x?sslmode=verify-full&sslrootcert=%2Fetc%2Fmy%20ca.pem";
  assert.deepEqual(tlsOf({ DATABASE_URL: url, ...variables }), { tls: "verify-full", tlsRootCert: "/etc/my ca.pem" });
  const ofSystem = "postgres://db/x?ssl=true&sslrootcert=system";
  assert.deepEqual(tlsOf({ DATABASE_URL: ofSystem }), { tls: "require", tlsRootCert: "system" });
});

test("loadConfig() needs a host for an external server", () => {
  assert.equal(load({ PGUSER: "me", PGPASSWORD: "pw" }).externalServer, undefined);
  assert.equal(load({ PGHOST: "db" }).externalServer?.port, 5432);
});

test("loadConfig() reads the settings of Vault, by OpenBao's names too", () => {
  const environment = { VAULT_TOKEN: "t", VAULT_NAMESPACE: "n", VAULT_CACERT: "ca.pem" };
  assert.equal(load(environment).vault, undefined);
  const address = "http://127.0.0.1:8200";
  const expected = {
    address,
    token: "t",
    tokenFile: undefined,
    namespace: "n",
    caCertFile: "ca.pem",
    roleId: undefined,
    secretId: undefined,
    secretIdFile: undefined,
  };
  assert.deepEqual(load({ VAULT_ADDR: address, ...environment }).vault, expected);
  const openBao = { BAO_ADDR: address, BAO_TOKEN: "t", BAO_NAMESPACE: "n", BAO_CACERT: "ca.pem" };
  assert.deepEqual(load(openBao).vault, expected);
  assert.equal(load({ ...openBao, VAULT_TOKEN: "first" }).vault?.token, "first");
});

test("loadConfig() needs both halves of an AppRole, and a known secret store", () => {
  const address = { VAULT_ADDR: "http://127.0.0.1:8200" };
  const problem = "VAULT_ROLE_ID and VAULT_SECRET_ID must be set together; only one of them is set";
  assert.deepEqual(problemsOf({ ...address, VAULT_ROLE_ID: "r" }), [problem]);
  assert.deepEqual(problemsOf({ ...address, VAULT_SECRET_ID: "s" }), [problem]);
  assert.equal(load({ ...address, VAULT_ROLE_ID: "r", VAULT_SECRET_ID: "s" }).vault?.secretId, "s");
  assert.deepEqual(problemsOf({}, { secrets: "env" }), ['--secrets "env" must be file or vault']);
});

test("loadConfig() prefers CQRS_ADMIN_URL, and completes it with no variable of the application", () => {
  const application = {
    DATABASE_URL: "postgres://app:a@db:1/x",
    PGHOST: "db",
    PGUSER: "app",
    PGPASSWORD: "a",
    PGPORT: "1",
  };
  const { externalServer } = load({ ...application, CQRS_ADMIN_URL: "postgres://boss@db" });
  const expected = { host: "db", port: 5432, user: "boss", password: undefined, database: undefined, tls: "prefer" };
  assert.deepEqual(externalServer, expected);
});
