import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadConfig, parseServerUrl } from "../../scripts/lib/config.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { type ConnectionTarget, connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { FileSecretStore } from "../../scripts/lib/secrets/file-store.ts";
import type { SecretData } from "../../scripts/lib/secrets/store.ts";
import { openStackStore } from "../../scripts/lib/stack/open-store.ts";
import { withStackStore } from "../../scripts/lib/stack/projections.ts";
import { openStack } from "../../scripts/lib/stack/stack.ts";
import type { TlsMode } from "../../scripts/lib/tls-mode.ts";
import { runForData, runScript, startProgram } from "../support/run-script.ts";
import { type TestStack, withCluster } from "../support/stack.ts";
import { type Certificate, certificateFile, presentCertificate, requireTls } from "../support/tls-server.ts";
import { jsonContract } from "../unit/contracts.ts";

let cluster: TestStack;
let optional: TestStack;
before(async () => {
  cluster = await withCluster();
  optional = await withCluster();
  await presentCertificate(cluster, "good");
  await requireTls(cluster);
});
after(async () => {
  for (const part of [cluster, optional]) await part?.[Symbol.asyncDispose]();
});

const authority = certificateFile("authority");
const untrusted =
  /^TLS_CERTIFICATE the certificate of 127\.0\.0\.1:\d+ is from an authority .* trusted: Test authority$/;
const selfSigned = /^TLS_CERTIFICATE the certificate of 127\.0\.0\.1:\d+ is self-signed$/;
const otherHost =
  /^TLS_CERTIFICATE the certificate of 127\.0\.0\.1:\d+ is for DNS:other\.example, not for 127\.0\.0\.1$/;
const expired = /^TLS_CERTIFICATE the certificate of 127\.0\.0\.1:\d+ has expired$/;
const notOffered = /^TLS_NOT_OFFERED sslmode is [a-z-]+, but the server does not use TLS$/;

/** What each mode makes of each certificate: whether the session is encrypted, or the error. */
const outcomes: Record<
  Certificate | "none",
  readonly (readonly [modes: readonly TlsMode[], rootCert: string | undefined, boolean | RegExp])[]
> = {
  none: [
    [["disable", "allow", "prefer"], undefined, false],
    [["require", "verify-ca", "verify-full"], authority, notOffered],
  ],
  good: [
    [["disable"], authority, false],
    [["allow", "prefer", "require"], undefined, true],
    [["verify-ca", "verify-full"], undefined, untrusted],
    [["require", "verify-ca", "verify-full"], authority, true],
    [["require", "verify-ca", "verify-full"], certificateFile("self-signed"), untrusted],
    [["require", "verify-ca", "verify-full"], "system", untrusted],
  ],
  "other-host": [
    [["prefer", "require"], undefined, true],
    [["require", "verify-ca"], authority, true],
    [["verify-full"], authority, otherHost],
  ],
  expired: [
    [["prefer", "require"], undefined, true],
    [["verify-ca", "verify-full"], undefined, expired],
    [["require", "verify-ca", "verify-full"], authority, expired],
  ],
  "self-signed": [
    [["prefer", "require"], undefined, true],
    [["verify-ca", "verify-full"], undefined, selfSigned],
    [["require", "verify-ca", "verify-full"], authority, selfSigned],
    [["verify-ca", "verify-full"], certificateFile("self-signed"), true],
  ],
};

for (const [certificate, rows] of Object.entries(outcomes)) {
  test(`each TLS mode accepts or refuses the certificate of a server: ${certificate}`, async () => {
    await presentCertificate(optional, certificate as Certificate | "none");
    const target = await optional.administrator();
    for (const [modes, tlsRootCert, expected] of rows) {
      for (const tls of modes) {
        const found = await tryConnection({ ...target, tls, ...(tlsRootCert === undefined ? {} : { tlsRootCert }) });
        const label = `${tls} ${tlsRootCert}: ${found}`;
        if (expected instanceof RegExp) assert.match(`${found}`, expected, label);
        else assert.equal(found, expected, label);
      }
    }
  });
}

test("a certificate for a host name is accepted for that name", async () => {
  await presentCertificate(optional, "good");
  const target = { ...(await optional.administrator()), host: "localhost", tls: "verify-full" as const };
  assert.equal(await tryConnection({ ...target, tlsRootCert: authority }), true);
});

test("a root certificate that is missing or no certificate is refused", async () => {
  const target = { ...(await optional.administrator()), tls: "verify-full" as const };
  const wrong = [
    ["/missing/ca.pem", /^TLS_ROOT_CERT the root certificate \/missing\/ca\.pem cannot be used: ENOENT/],
    [join(optional.dataDir, "PG_VERSION"), /^TLS_ROOT_CERT .*: it contains no certificate in PEM format$/],
  ] as const;
  for (const [tlsRootCert, expected] of wrong) {
    assert.match(`${await tryConnection({ ...target, tlsRootCert })}`, expected);
  }
});

test("the secret of an external stack has its TLS settings, and its URLs carry them", async () => {
  await using stack = await withExternalStack();
  const { username, url, uri = "", sslmode, sslrootcert, host, port, database } = await stack.secret();
  const parameters = `?sslmode=verify-full&sslrootcert=${encodeURIComponent(authority)}`;
  assert.deepEqual([sslmode, sslrootcert], ["verify-full", authority]);
  assert.equal(url, `jdbc:postgresql://${host}:${port}/${database}${parameters}`);
  assert.ok(uri.endsWith(`@${host}:${port}/${database}${parameters}`), uri);
  const { env } = await runForData<{ env: Record<string, string> }>(["status", "--env"], stack.options);
  assert.deepEqual(Object.keys(env), [...jsonContract.statusEnv, ...jsonContract.statusEnvTls]);
  assert.deepEqual([env["PGSSLMODE"], env["PGSSLROOTCERT"]], ["verify-full", authority]);
  assert.equal(env["DATABASE_URL"], uri);
  const target = parseServerUrl(uri);
  assert.deepEqual([target.user, target.tls, target.tlsRootCert], [username, "verify-full", authority]);

  // Rotation writes the secret again.
  await runForData(["secrets", "rotate"], stack.options);
  const rotated = await stack.secret();
  assert.notEqual(rotated["username"], username);
  assert.deepEqual([rotated["sslmode"], rotated["sslrootcert"], rotated["url"]], [sslmode, sslrootcert, url]);
  const shown = await runScript(["secrets", "show", "--env"], stack.options);
  assert.match(shown.stdout, /^export PGSSLMODE='verify-full'$/m);
});

test("connect(), seed and projections use the TLS settings of the secret", async () => {
  await using stack = await withExternalStack();
  const config = stack.config();
  await using store = await openStackStore(await openStack(config, "application"));
  assert.equal(await isEncrypted(store.sql), true);
  // seed and projections do all their work in this.
  assert.equal(await withStackStore(config, query), true);
});

test("every script works with a server that accepts only TLS", async () => {
  await using stack = await withExternalStack();
  for (const script of [
    "seed",
    "projections list",
    "projections run --once",
    "status",
    "schema status",
    "backup",
    "backup verify latest",
    "restore latest --yes --drop-old",
    "secrets rotate",
    "wait-for postgres schema",
  ]) {
    const ran = await runScript(script.split(" "), stack.options);
    assert.equal(ran.exitCode, 0, `${script}: ${ran.stdout}${ran.stderr}`);
  }
});

test("the environment can set a stricter mode than the secret and another root certificate, but no less strict mode", async () => {
  await using stack = await withExternalStack();
  const { sslmode: _, sslrootcert: __, ...old } = await stack.secret();
  await stack.write(old);
  // A secret of an earlier version says nothing, and TLS was not used.
  await assert.rejects(withStackStore(stack.config({}), query), { code: "AUTHENTICATION" });
  const settings = { PGSSLMODE: "verify-full", PGSSLROOTCERT: authority };
  assert.equal(await withStackStore(stack.config(settings), query), true);

  await stack.write({ ...old, sslmode: "verify-full", sslrootcert: "/on/another/machine.pem" });
  await assert.rejects(withStackStore(stack.config({}), query), { code: "TLS" });
  const weaker = { PGSSLMODE: "disable", PGSSLROOTCERT: authority };
  assert.equal(await withStackStore(stack.config(weaker), query), true);
  const wrong = stack.config({ PGSSLMODE: "full" });
  await assert.rejects(withStackStore(wrong, query), { code: "CONFIGURATION", why: /PGSSLMODE must be/ });

  await stack.write({ ...old, sslmode: "full" });
  await assert.rejects(withStackStore(stack.config({}), query), { code: "SECRETS_UNUSABLE" });
});

test("bootstrap replaces the TLS settings of the secret", async () => {
  await using stack = await withExternalStack();
  const url = connectionUrl({ ...stack.administrator, tls: "require" });
  await runForData(["bootstrap"], { ...stack.options, env: { DATABASE_URL: url } });
  const { sslmode, sslrootcert, uri } = await stack.secret();
  assert.deepEqual([sslmode, sslrootcert], ["require", undefined]);
  assert.match(uri ?? "", /\?sslmode=require$/);
});

test("every command reports what is wrong with the certificate", async () => {
  await using stack = await withExternalStack();
  await runForData(["backup"], stack.options);
  const url = connectionUrl({ ...stack.administrator, tls: "verify-full" });
  const env = { DATABASE_URL: url, PGSSLROOTCERT: certificateFile("self-signed") };
  for (const [script, exitCode] of [
    ["bootstrap", 3],
    ["status", 3],
    ["schema status", 3],
    ["schema apply", 3],
    ["backup", 3],
    ["restore latest --yes", 3],
    ["secrets rotate", 3],
    ["seed", 3],
    ["projections list", 3],
    ["wait-for postgres", 2],
  ] as const) {
    const ran = await runScript(script.split(" "), { ...stack.options, env });
    const text = `${script}: ${ran.stdout}${ran.stderr}`;
    assert.equal(ran.exitCode, exitCode, text);
    assert.match(ran.stderr, /^error: Cannot agree on TLS with postgres:\/\/\S+$/m, text);
    assert.match(ran.stderr, /^ {2}why: the certificate of .* is from an authority .*: Test authority/m, text);
    assert.match(ran.stderr, /^ {2}fix: Set sslrootcert \(PGSSLROOTCERT\)/m, text);
  }
});

test("a server that accepts only TLS rejects a login without it, and the error names the fix", async () => {
  await using stack = await withExternalStack();
  const url = connectionUrl({ ...stack.administrator, tls: "disable" });
  const ran = await runScript(["status"], { ...stack.options, env: { DATABASE_URL: url, PGSSLMODE: "disable" } });
  assert.equal(ran.exitCode, 6, ran.stderr);
  assert.match(ran.stderr, /^ {2}why: no pg_hba\.conf entry .*no encryption \(28000\)$/m);
  assert.match(
    ran.stderr,
    /^ {2}fix: If the server requires TLS, set sslmode=require \(DATABASE_URL or PGSSLMODE\)\./m,
  );
});

test("a program that leaves a pool with TLS open ends", async () => {
  const target = JSON.stringify({ ...(await cluster.application()), tls: "require" });
  const program = startProgram("tests/support/fixtures/leaves-pool-open.ts", [target, "transaction"]);
  const timer = setTimeout(() => program.kill("SIGKILL"), 30_000);
  const { exitCode, stdout, stderr } = await program.ended;
  clearTimeout(timer);
  assert.deepEqual([exitCode, stdout, stderr], [0, "done\n", ""]);
});

let stacks = 0;

interface ExternalStack extends AsyncDisposable {
  readonly administrator: ConnectionTarget;
  readonly options: { readonly stackDir: string; readonly env: Readonly<Record<string, string>> };
  /** @param environment by default, the one that bootstrap had */
  config(environment?: Readonly<Record<string, string>>): ReturnType<typeof loadConfig>;
  secret(): Promise<SecretData>;
  write(data: SecretData): Promise<void>;
}

/** A stack that was bootstrapped with sslmode=verify-full on a server that accepts only TLS. */
async function withExternalStack(): Promise<ExternalStack> {
  const stackDir = await mkdtemp(join(tmpdir(), "cqrs-tls-"));
  const tls = { tls: "verify-full", tlsRootCert: authority } as const;
  const administrator = { ...(await cluster.administrator()), database: "cqrs_db" };
  const env = { DATABASE_URL: connectionUrl({ ...administrator, ...tls }) };
  const options = { stackDir, env };
  await runForData(["bootstrap", "--mode", "external", "--user", `user_${stacks++}`, "--yes"], options);
  const store = () => new FileSecretStore(join(stackDir, "secrets"));
  const paths = [secretPaths.application, secretPaths.applicationLocal];
  return {
    administrator,
    options,
    config: (environment: Readonly<Record<string, string>> = env) =>
      loadConfig({}, { environment: { CQRS_STACK_DIR: stackDir, ...environment }, dotEnvFile: null }),
    secret: async () => (await store().read(secretPaths.application))?.data ?? {},
    async write(data) {
      for (const path of paths) await store().write(path, data, { cas: (await store().read(path))?.version ?? 0 });
    },
    [Symbol.asyncDispose]: () => rm(stackDir, { recursive: true, force: true }),
  };
}

const query = ({ sql }: EventStore) => isEncrypted(sql);

/** @returns whether the session is encrypted, or the code and message of the error */
async function tryConnection(target: ConnectionTarget): Promise<boolean | string> {
  await using connection = openConnection(target);
  return await isEncrypted(connection.sql).catch((error) => `${error.code} ${error.message}`);
}

/** As the login itself: the role that it acts as may not see the session's statistics. */
async function isEncrypted(sql: Sql): Promise<boolean> {
  return await inTransaction(sql, async (tx) => {
    await tx`set local role none`;
    const [row] = await tx<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
    return row?.ssl === true;
  });
}
