// Fills the secret store, shows what is in it, rotates it, and moves it to Vault.
// Reads: configuration, the stack directory, Vault. Writes: the secret store, <stack>/vault, state.json, the database's logins.
// Exits: 0 · 2 configuration · 3 store not ready, or empty · 5 locked · 6 login or policy of Vault · 8 another engine, or within the grace · 9 no Vault to start · 124 timeout
import { defineScript, defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags } from "./lib/cli/flags.ts";
import { formatTable } from "./lib/cli/format.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { exitCodes } from "./lib/cli/script-error.ts";

const { mode, database, user, timeout, secrets, port } = stackFlags;

const init = defineScript({
  meta: { name: "init", description: "Have the store ready: Vault set up, credentials made; what is there stays" },
  args: { mode, port, database, user, timeout, secrets },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { initSecrets } = await import("./lib/stack/secrets.ts");
    return initSecrets(await openStack(loadConfig(args)), { reporter, signal });
  },
  print({ details, place, location, isChanged }, output) {
    for (const detail of details) output.result(detail);
    output.result(`${output.style("green", "ready")}${isChanged ? "" : " (nothing to change)"}  ${place} ${location}`);
  },
});

const show = defineScript({
  meta: { name: "show", description: "Show the application's credentials, the password masked" },
  args: {
    mode,
    database,
    timeout,
    secrets,
    reveal: { type: "boolean", description: "Print the password too" },
    env: { type: "boolean", description: "As export lines for the shell" },
    spring: { type: "boolean", description: "As properties of a Spring data source" },
  },
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { readSecretData } = await import("./lib/stack/secrets.ts");
    const { renderSecret } = await import("./lib/secrets/render.ts");
    const data = await readSecretData(await openStack(loadConfig(args)));
    const format = args.env === true ? "env" : args.spring === true ? "spring" : "plain";
    return renderSecret(data, { format, reveal: args.reveal === true });
  },
  print(entries, output) {
    for (const { line } of entries) output.result(line);
  },
});

const status = defineScript({
  meta: { name: "status", description: "Tell where the secrets are, and whether they can be used" },
  args: { mode, timeout, secrets },
  async run({ args }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { readSecretsStatus } = await import("./lib/stack/secrets.ts");
    return readSecretsStatus(await openStack(loadConfig(args)));
  },
  print({ place, location, isReady, versions }, output) {
    const paths = Object.entries(versions ?? {}).map(([path, version]) => [
      path,
      version === 0 ? "none" : `version ${version}`,
    ]);
    output.result(
      formatTable([
        ["place", place],
        ["location", location],
        ["ready", isReady ? "yes" : "no"],
        ...(paths as [string, string][]),
      ]),
    );
  },
  exitCode: ({ isReady }) => (isReady ? exitCodes.ok : exitCodes.notReady),
});

const migrate = defineScript({
  meta: { name: "migrate", description: "Copy the credentials from files to Vault, and use that from now on" },
  args: { mode, timeout, secrets },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { migrateSecrets } = await import("./lib/stack/secrets.ts");
    return migrateSecrets(await openStack(loadConfig(args)), { reporter, signal });
  },
  print(migrated, output) {
    for (const { path, outcome } of migrated) output.result(`${path}: ${outcome}`);
    if (migrated.some(({ outcome }) => outcome === "different")) {
      output.result("Vault's values were kept: bun run bootstrap brings PostgreSQL into line with them");
    }
  },
});

const rotate = defineScript({
  meta: { name: "rotate", description: "Give the application other credentials; the old ones end after a grace" },
  args: {
    mode,
    database,
    timeout,
    secrets,
    grace: { type: "string", valueHint: "duration", description: "How long the old ones stay good (CQRS_GRACE)" },
  },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { rotateLogin } = await import("./lib/stack/rotate.ts");
    return rotateLogin(loadConfig(args), { reporter, signal }, { endGrace: args.yes === true });
  },
  print({ login, previous, previousUntil }, output) {
    output.result(`the secret names ${login}; ${previous} is good until ${previousUntil}`);
  },
});

const dynamic = defineScript({
  meta: { name: "dynamic", description: "Let Vault issue logins that end by themselves" },
  args: { mode, database, timeout, secrets },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { enableDynamicLogins } = await import("./lib/stack/dynamic.ts");
    return enableDynamicLogins(await openStack(loadConfig(args)), { reporter, signal });
  },
  print({ path, policy }, output) {
    output.result(`reading ${path} issues a login, for whoever has the policy ${policy}`);
  },
});

const sweep = defineScript({
  meta: { name: "sweep", description: "Drop issued logins that have ended and that Vault did not take back" },
  args: { mode, database, timeout },
  async run({ args, reporter, signal }) {
    const { loadConfig } = await import("./lib/config.ts");
    const { openStack } = await import("./lib/stack/stack.ts");
    const { sweepDynamicLogins } = await import("./lib/stack/dynamic.ts");
    return sweepDynamicLogins(await openStack(loadConfig(args)), { reporter, signal });
  },
  print(swept, output) {
    for (const name of swept) output.result(`dropped ${name}`);
    if (swept.length === 0) output.result("nothing to drop");
  },
});

export const command = defineScriptGroup({
  meta: { name: "secrets", description: "Fill the secret store, show it, rotate it, move it to Vault, issue logins" },
  subCommands: { init, show, status, rotate, migrate, dynamic, sweep },
});

if (import.meta.main) await runAsProcess(command);
