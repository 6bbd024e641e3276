import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { inspect } from "node:util";
import { loadConfig } from "../../scripts/lib/config.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { rotateLogin } from "../../scripts/lib/stack/rotate.ts";
import { readFiles, watchProcesses } from "../support/leaks.ts";
import { readLogin } from "../support/logins.ts";
import { runScript } from "../support/run-script.ts";
import { makeTestStack, silentRun, type TestStack } from "../support/stack.ts";
import { registerDatabasePlugin, startVault, type TestVault, vaultProgram, vaultTest } from "../support/vault.ts";
import { openVaultProxy } from "../support/vault-proxy.ts";

/** The places in a stack where secrets belong. */
const keepers = ["secrets", "vault/credentials", "vault/unseal-key", "vault/data/raft", "token"];

/** The secrets that must not appear anywhere else. */
class Secrets {
  readonly #values = new Set<string>();

  add(...values: readonly (string | undefined)[]): void {
    for (const value of values) if (value !== undefined && value.length > 8) this.#values.add(value);
  }

  /** Adds every value in the places of a stack where secrets belong. */
  async addKept(stack: TestStack): Promise<void> {
    for (const [file, text] of await readFiles(stack.stackDir, ["postgres", "vault/data"])) {
      if (file.endsWith(".role-id") || file.endsWith("state.json")) continue;
      this.add(...(text.match(/(?:hv[sb]\.)?[A-Za-z0-9+/=_-]{24,}/g) ?? []));
    }
  }

  assertAbsent(text: string, where: string): void {
    for (const value of this.#values)
      assert.ok(!text.includes(value), `${where} contains a secret\n${text.slice(0, 2000)}`);
  }

  get count(): number {
    return this.#values.size;
  }
}

vaultTest(
  "no secret of Vault or PostgreSQL appears in an output, a log, a command line or an environment",
  async () => {
    await using stack = await makeTestStack();
    await using vault = await startVault();
    await registerDatabasePlugin(vault);
    await using processes = watchProcesses(true);
    const secrets = new Secrets();
    const outputs: [string, string][] = [];
    const run = async (words: string[], env: Record<string, string> = {}) => {
      const { stdout, stderr } = await runScript(words, { ...stack, env });
      outputs.push([words.join(" "), `${stdout}${stderr}`]);
      await secrets.addKept(stack);
    };
    const administrator = { VAULT_ADDR: vault.address, VAULT_TOKEN_FILE: await tokenFile(stack, vault.rootToken) };
    const script = { VAULT_ADDR: vault.address };
    secrets.add(vault.rootToken, vault.unsealKey);

    await run(["bootstrap", "--verbose"]);
    await logEverything(stack);
    for (const words of [
      ["init"],
      ["show"],
      ["status"],
      ["rotate", "--verbose"],
      ["rotate"],
      ["rotate", "--yes", "--json"],
    ]) {
      await run(["secrets", ...words]);
    }
    await run(["secrets", "migrate", "--verbose"], administrator);
    for (const words of [["init", "--json"], ["show", "--spring"], ["show", "--env", "--json"], ["status"]]) {
      await run(["secrets", ...words, "--verbose"], script);
      await addStored(secrets, vault);
    }
    await run(["bootstrap", "--json"], script);
    for (const words of [["rotate", "--yes"], ["rotate"], ["rotate", "--yes", "--json"], ["dynamic"], ["sweep"]]) {
      await run(["secrets", ...words, "--verbose"], script);
      await addStored(secrets, vault);
    }
    await run(["secrets", "dynamic", "--verbose"], administrator);
    const issued = await vault.request("GET", "database/creds/cqrs-app");
    secrets.add(issued.body.data.password);
    await vault.request("PUT", "sys/leases/revoke", { lease_id: issued.body.lease_id, sync: true });
    await run(["secrets", "sweep", "--json"], script);
    await runWithFailingVault(run, vault, administrator);
    await run(["stop", "--json"]);

    assert.ok(secrets.count > 10, `${secrets.count} secrets were looked for`);
    assert.ok(processes.text().includes("postgres\0-D\0"), "the processes were seen");
    for (const [command, output] of outputs) secrets.assertAbsent(output, command);
    const files = await readFiles(stack.stackDir, keepers);
    assert.ok(
      [...files.values()].some((text) => text.includes('create role "v-')),
      "the log had every statement",
    );
    for (const [file, content] of files) secrets.assertAbsent(content, file);
    secrets.assertAbsent(processes.text(), "a process");
  },
);

vaultTest("no secret of a local Vault appears in its log, its command line or an environment", async () => {
  if (vaultProgram?.binary === undefined) return;
  await using stack = await makeTestStack();
  await using processes = watchProcesses(true);
  const secrets = new Secrets();
  const outputs: [string, string][] = [];
  const env = { PATH: `${dirname(vaultProgram.binary)}:${process.env["PATH"]}` };
  const commands = [
    ["bootstrap", "--secrets", "vault"],
    ["secrets", "init"],
    ["secrets", "rotate"],
    ["secrets", "show"],
    ["stop"],
  ];
  for (const words of commands) {
    const { exitCode, stdout, stderr } = await runScript([...words, "--verbose"], { ...stack, env });
    assert.equal(exitCode, 0, stderr);
    outputs.push([words.join(" "), `${stdout}${stderr}`]);
    await secrets.addKept(stack);
  }
  assert.ok(secrets.count > 3, `${secrets.count} secrets were looked for`);
  for (const [command, output] of outputs) secrets.assertAbsent(output, command);
  for (const [file, content] of await readFiles(stack.stackDir, keepers)) secrets.assertAbsent(content, file);
  secrets.assertAbsent(processes.text(), "a process");
});

vaultTest("an error of a rotation or of a pool contains no secret in any representation", async () => {
  await using stack = await makeTestStack();
  await using vault = await startVault();
  const token = vault.rootToken;
  await runScript(["bootstrap"], { ...stack, env: { VAULT_ADDR: vault.address, VAULT_TOKEN: token } });
  const direct = { ...stack, env: { VAULT_ADDR: vault.address, VAULT_TOKEN: token } };
  const { password, ...target } = await readLogin(direct);
  await using proxy = await openVaultProxy(vault.address);
  const environment = { CQRS_STACK_DIR: stack.stackDir, VAULT_ADDR: proxy.address, VAULT_TOKEN: token };
  const config = loadConfig({ timeout: "1s" }, { environment, dotEnvFile: join(stack.stackDir, "no.env") });
  const errors: unknown[] = [];
  for (const treatment of [
    "mute",
    { status: 403 },
    { status: 500 },
    { status: 400, body: { errors: [token] } },
  ] as const) {
    proxy.treat(({ method }) => (method === "POST" ? treatment : "pass"));
    errors.push(
      await rotateLogin(config, silentRun, { endGrace: true }).then(
        () => assert.fail("it did not fail"),
        (error: unknown) => error,
      ),
    );
  }
  proxy.treat(() => ({ status: 500, body: { errors: [token] } }));
  const through = { ...stack, env: { VAULT_ADDR: proxy.address, VAULT_TOKEN: token, CQRS_TIMEOUT: "1s" } };
  const wrong = { user: target.user, password: `${password}x` };
  for (const credentials of [() => readLogin(through), () => wrong]) {
    await using pool = openConnection({ ...target, password: undefined }, { credentials });
    errors.push(
      await pool.sql`select ${1}::int`.then(
        () => assert.fail("it did not fail"),
        (error: unknown) => error,
      ),
    );
  }
  for (const error of errors) {
    for (const view of [
      inspect(error, { depth: 10, showHidden: true }),
      JSON.stringify(error),
      (error as Error).stack,
    ]) {
      for (const secret of [token, password]) assert.ok(!`${view}`.includes(secret), `${view}`);
    }
  }
});

/** Makes Vault fail in every way, for each subcommand that talks to it. */
async function runWithFailingVault(
  run: (words: string[], env: Record<string, string>) => Promise<void>,
  vault: TestVault,
  administrator: Record<string, string>,
): Promise<void> {
  await using proxy = await openVaultProxy(vault.address);
  const env = { ...administrator, VAULT_ADDR: proxy.address, CQRS_TIMEOUT: "300ms" };
  const echo = { status: 400, body: { errors: [`token ${vault.rootToken} was refused`] } };
  proxy.treat(() => echo);
  for (const name of ["init", "show", "status", "rotate", "migrate", "dynamic"]) {
    await run(["secrets", name, "--yes", "--verbose"], env);
  }
  for (const treatment of [{ status: 403 }, { status: 500 }, "mute"] as const) {
    proxy.treat(() => treatment);
    await run(["secrets", "rotate", "--yes", "--verbose"], env);
  }
}

async function addStored(secrets: Secrets, vault: TestVault): Promise<void> {
  const { body } = await vault.request("GET", "secret/data/cqrs-spike/database");
  secrets.add(body?.data?.data?.password);
}

async function tokenFile(stack: TestStack, token: string): Promise<string> {
  const file = join(stack.stackDir, "token");
  await writeFile(file, token, { mode: 0o600 });
  return file;
}

async function logEverything(stack: TestStack): Promise<void> {
  await using admin = openConnection(await stack.administrator());
  await admin.sql`alter system set log_statement = 'all'`;
  await admin.sql`select pg_reload_conf()`;
}
