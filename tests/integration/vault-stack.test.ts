import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import type { SecretsInit, SecretsStatus } from "../../scripts/lib/stack/secrets.ts";
import { runForData, runScript, startProgram } from "../support/run-script.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";
import { administratorOf, shareVault, type TestVault, vaultTest } from "../support/vault.ts";
import { secretContract } from "../unit/contracts.ts";

const { paths, keys } = secretContract;
const apiPath = paths.application.replace("secret/", "secret/data/");

const emptyVault = shareVault();

async function readStored(vault: TestVault): Promise<Record<string, string>> {
  const { status, body } = await vault.request("GET", apiPath);
  assert.equal(status, 200);
  return body.data.data;
}

async function readVersion(vault: TestVault): Promise<number> {
  return (await vault.request("GET", apiPath)).body.data.metadata.version;
}

async function canLogIn({ username, password, port, database }: Record<string, string>): Promise<boolean> {
  const target = { host: "127.0.0.1", port: Number(port), database: `${database}`, user: `${username}` };
  await using connection = openConnection({ ...target, password: `${password}` });
  return (await connection.sql`select 1`.catch(() => [])).length === 1;
}

/** Unwraps the AppRole that was delivered to a stack, as any client would. */
async function takeAppRole(vault: TestVault, stack: TestStack): Promise<{ role_id: string; secret_id: string }> {
  const folder = join(stack.stackDir, "vault/credentials");
  const role_id = (await readFile(join(folder, "cqrs-app.role-id"), "utf8")).trim();
  const { token } = JSON.parse(await readFile(join(folder, "cqrs-app.wrapped"), "utf8")) as { token: string };
  const { body } = await vault.request("POST", "sys/wrapping/unwrap", undefined, token);
  return { role_id, secret_id: body.data.secret_id };
}

vaultTest("bootstrap with VAULT_ADDR works repeatedly, and after Vault was restarted or emptied", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const env = administratorOf(vault);
  const bootstrap = (more: Record<string, string> = env) =>
    runForData<BootstrapResult>(["bootstrap"], { ...stack, env: more });

  const first = await bootstrap();
  assert.equal(first.isChanged, true);
  const stored = await readStored(vault);
  assert.deepEqual(Object.keys(stored).toSorted(), [...keys].toSorted(), "the seed's four keys and ours");
  assert.match(stored["password"] ?? "", /^[A-Za-z0-9]{32}$/);
  assert.ok(await canLogIn(stored));
  assert.deepEqual(await readdir(join(stack.stackDir, "secrets")), ["embedded"], "only the superuser's");

  // From here on, the stack's own AppRole is sufficient.
  const address = { VAULT_ADDR: vault.address };
  const second = await bootstrap(address);
  assert.deepEqual([second.isChanged, await readVersion(vault)], [false, 1]);

  await vault.stop();
  await vault.start();
  await vault.unseal();
  const afterRestart = await bootstrap(address);
  assert.deepEqual([afterRestart.isChanged, await readStored(vault)], [false, stored]);

  await vault.request("DELETE", "sys/mounts/secret");
  await vault.request("DELETE", "sys/auth/approle");
  const emptied = await runScript(["bootstrap"], { ...stack, env: address });
  assert.deepEqual([emptied.exitCode, /secrets init|VAULT_TOKEN/.test(emptied.stderr)], [6, true], emptied.stderr);
  await bootstrap();
  const renewed = await readStored(vault);
  assert.notEqual(renewed["password"], stored["password"]);
  assert.ok(await canLogIn(renewed), "PostgreSQL has the new password");
  assert.ok(!(await canLogIn(stored)), "the old password is invalid");

  await vault.request("POST", apiPath, { data: { ...renewed, password: "ChosenByAPerson1" } });
  await bootstrap(address);
  assert.ok(
    await canLogIn({ ...renewed, password: "ChosenByAPerson1" }),
    "PostgreSQL adopts a password written to Vault",
  );

  const lost = await runScript(["status", "--env"], stack);
  assert.equal(lost.exitCode, 2);
  assert.match(lost.stderr, /VAULT_ADDR is not set/);
});

vaultTest(
  "an application connects as cqrs-app with one secret id, across a restart and a second bootstrap",
  async () => {
    const vault = await emptyVault();
    await using stack = await makeTestStack();
    const env = { CQRS_STACK_DIR: stack.stackDir, VAULT_ADDR: vault.address };
    await runForData(["bootstrap"], { ...stack, env: administratorOf(vault) });
    // The application has only its own role.
    const folder = join(stack.stackDir, "vault/credentials");
    for (const name of ["cqrs-init.role-id", "cqrs-init.secret-id"]) await rm(join(folder, name));
    const run = () => startProgram("tests/support/fixtures/connects.ts", [], { env }).ended;
    const secretIds = new Set<string>();
    for (const occasion of ["first start", "restart", "after a second bootstrap"]) {
      if (occasion !== "restart") await runForData(["bootstrap"], { ...stack, env: administratorOf(vault) });
      const { exitCode, stdout, stderr } = await run();
      assert.deepEqual([exitCode, stdout.trim()], [0, "cqrs_user"], `${occasion}: ${stderr}`);
      secretIds.add(await readFile(join(folder, "cqrs-app.secret-id"), "utf8"));
    }
    assert.equal(secretIds.size, 1);
  },
);

vaultTest("bootstrap of an external server keeps its credentials in Vault", async () => {
  const vault = await emptyVault();
  await using server = await makeTestStack();
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], server);
  const { host, port, user, password } = (await server.administrator()) as ConnectionTarget & { password: string };
  const env = {
    ...administratorOf(vault),
    CQRS_MODE: "external",
    DATABASE_URL: `postgres://${user}:${password}@${host}:${port}/cqrs_db`,
    POSTGRES_USER: "orders_user",
  };
  const bootstrap = (...words: string[]) => runForData<BootstrapResult>(["bootstrap", ...words], { ...stack, env });
  assert.equal((await bootstrap("--yes")).isChanged, true);
  const stored = await readStored(vault);
  assert.deepEqual([stored["database"], stored["username"], stored["port"]], ["cqrs_db", "orders_user", `${port}`]);
  assert.ok(await canLogIn(stored));
  assert.equal((await bootstrap()).isChanged, false);
  assert.ok(!existsSync(join(stack.stackDir, "secrets")), "no secret is in files");
});

vaultTest("ten concurrent runs of secrets init create one set of credentials", async () => {
  const vault = await emptyVault();
  await using stacks = new AsyncDisposableStack();
  const runs = [];
  for (let index = 0; index < 10; index++) {
    const stack = stacks.use(await makeTestStack());
    const env = { ...administratorOf(vault), POSTGRES_PORT: "5432" };
    runs.push(runForData<SecretsInit>(["secrets", "init"], { ...stack, env }));
  }
  const results = await Promise.all(runs);
  assert.ok(results.some(({ isChanged }) => isChanged));
  assert.equal(await readVersion(vault), 1, "written once");
  const { body } = await vault.request("GET", `secret/data/${paths.applicationLocal.replace("secret/", "")}`);
  assert.equal(body.data.metadata.version, 1);
  assert.deepEqual(body.data.data, await readStored(vault));
  const { body: facts } = await vault.request("GET", apiPath.replace("/data/", "/metadata/"));
  assert.equal(facts.data.custom_metadata["managed-by"], "cqrs-postgres");
});

vaultTest("secrets init is idempotent", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const init = (env: Record<string, string>) => runForData<SecretsInit>(["secrets", "init"], { ...stack, env });
  assert.equal((await init(administratorOf(vault))).isChanged, true);
  const before = await readStored(vault);
  for (const env of [administratorOf(vault), { VAULT_ADDR: vault.address }]) {
    assert.deepEqual(await init(env), { place: "vault", location: vault.address, isChanged: false, details: [] });
  }
  assert.deepEqual(await readStored(vault), before);
  const status = await runForData<SecretsStatus>(["secrets", "status"], { ...stack, env: administratorOf(vault) });
  assert.deepEqual(status.versions, { [paths.application]: 1, [paths.applicationLocal]: 1 });
  for (const name of await readdir(join(stack.stackDir, "vault/credentials"))) {
    const { mode } = await stat(join(stack.stackDir, "vault/credentials", name));
    assert.equal((mode & 0o777).toString(8), "600", name);
  }
});

vaultTest("another program can read the secret with the application's AppRole, and nothing else", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["secrets", "init"], { ...stack, env: administratorOf(vault) });
  await vault.request("POST", "secret/data/cqrs-spike/other", { data: { a: "1" } });
  const credentials = await takeAppRole(vault, stack);
  for (const login of ["the first", "after a restart"]) {
    const { body } = await vault.request("POST", "auth/approle/login", credentials, "");
    const token: string = body.auth.client_token;
    const read = await vault.request("GET", apiPath, undefined, token);
    assert.deepEqual([read.status, Object.keys(read.body.data.data).length], [200, keys.length], login);
    for (const [method, path] of [
      ["POST", apiPath],
      ["DELETE", apiPath],
      ["GET", apiPath.replace("/data/", "/metadata/")],
      ["GET", "secret/data/cqrs-spike/other"],
      ["GET", "secret/metadata/?list=true"],
      ["GET", "sys/mounts"],
      ["GET", "sys/policies/acl/cqrs-app"],
      ["POST", "auth/approle/role/cqrs-app/secret-id"],
      ["POST", "auth/token/create"],
    ] as const) {
      const { status } = await vault.request(method, path, method === "POST" ? { data: {} } : undefined, token);
      assert.equal(status, 403, `${method} ${path}`);
    }
  }
});

vaultTest("secrets show masks the password and --reveal prints it, in every format", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  const env = { ...administratorOf(vault), POSTGRES_PASSWORD: "Visible-1" };
  await runForData(["secrets", "init"], { ...stack, env });
  for (const format of [[], ["--env"], ["--spring"], ["--json"]]) {
    const masked = await runScript(["secrets", "show", ...format], { ...stack, env });
    assert.equal(masked.exitCode, 0);
    assert.ok(!masked.stdout.includes("Visible-1") && masked.stdout.includes("****"), masked.stdout);
    const revealed = await runScript(["secrets", "show", "--reveal", ...format], { ...stack, env });
    assert.ok(revealed.stdout.includes("Visible-1"), revealed.stdout);
  }
  const { stdout } = await runScript(["secrets", "show", "--spring"], { ...stack, env });
  assert.match(stdout, /^spring\.datasource\.url=jdbc:postgresql:\/\/127\.0\.0\.1:\d+\/cqrs_db$/m);
});

vaultTest("secrets migrate copies the secrets from files; the application keeps its password", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  const { password } = await stack.application();
  await runForData(["backup", "--encrypt"], stack);
  const nowhere = await runScript(["secrets", "migrate"], stack);
  assert.deepEqual([nowhere.exitCode, /--secrets vault/.test(nowhere.stderr)], [2, true]);
  const env = administratorOf(vault);
  const migrated = await runForData<{ outcome: string }[]>(["secrets", "migrate"], { ...stack, env });
  assert.deepEqual(
    migrated.map(({ outcome }) => outcome),
    ["copied", "copied", "copied"],
  );
  assert.equal((await readStored(vault))["password"], password);
  const again = await runForData<{ outcome: string }[]>(["secrets", "migrate"], { ...stack, env });
  assert.deepEqual(
    again.map(({ outcome }) => outcome),
    ["same", "same", "same"],
  );
  const bootstrapped = await runForData<BootstrapResult>(["bootstrap"], { ...stack, env });
  assert.equal(bootstrapped.isChanged, false);
  await runForData(["restore", "latest", "--yes"], { ...stack, env });
  await vault.request("POST", apiPath, { data: { ...(await readStored(vault)), password: "Another1" } });
  const kept = await runScript(["secrets", "migrate"], { ...stack, env });
  assert.match(kept.stdout, /different[\s\S]*Vault's values were kept/);
});

vaultTest("bootstrap with another store warns that the files still contain the secrets", async () => {
  const vault = await emptyVault();
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  const options = { ...stack, env: administratorOf(vault) };
  const { stderr } = await runScript(["bootstrap"], options);
  assert.match(stderr, /the files still contain them: run bun run secrets migrate --delete-files/);
  await runForData(["secrets", "migrate", "--delete-files", "--yes"], options);
  assert.ok(!existsSync(join(stack.stackDir, "secrets", paths.application)));
  assert.doesNotMatch((await runScript(["bootstrap"], options)).stderr, /still contain/);
});

vaultTest(
  "an archive is encrypted with a key in Vault, which the application may not read, and restored with it",
  async () => {
    const vault = await emptyVault();
    await using stack = await makeTestStack();
    await runForData(["bootstrap"], { ...stack, env: administratorOf(vault) });
    const env = { VAULT_ADDR: vault.address };
    const { archive } = await runForData<{ archive: string }>(["backup", "--encrypt"], { ...stack, env });
    const { status, body } = await vault.request("GET", "secret/data/cqrs-spike/archive-key");
    assert.equal(status, 200);
    assert.match(body.data.data.key, /^[0-9a-f]{64}$/);
    assert.deepEqual(await readdir(join(stack.stackDir, "secrets")), ["embedded"], "only the superuser's");
    await runForData(["restore", archive, "--yes"], { ...stack, env });
    await runForData(["backup", "--encrypt", "--incremental"], { ...stack, env });

    const { body: login } = await vault.request("POST", "auth/approle/login", await takeAppRole(vault, stack), "");
    const token = login.auth.client_token;
    assert.equal((await vault.request("GET", "secret/data/cqrs-spike/archive-key", undefined, token)).status, 403);

    const gone = await runScript(["restore", "latest", "--yes"], {
      ...stack,
      env: { VAULT_ADDR: "http://127.0.0.1:9", CQRS_TIMEOUT: "3s" },
    });
    assert.equal(gone.exitCode, 3, gone.stderr);
  },
);
