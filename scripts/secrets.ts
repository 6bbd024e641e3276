// Initialises the secret store, shows it, rotates credentials, and moves them to Vault.
// Reads: configuration, the stack directory, Vault. Writes: the secret store, vault/ below the stack directory,
// state.json, the database's logins. Exits: 0 · 2 configuration · 3 store not ready, or empty · 5 locked · 6 Vault's
// login or policy · 8 not a KV engine, still in the grace period, or refused · 9 no Vault to start · 124 timeout
import { defineScriptGroup } from "./lib/cli/define-script.ts";
import { stackFlags, yesFlag } from "./lib/cli/flags.ts";
import { runAsProcess } from "./lib/cli/run-as-process.ts";
import { runLine } from "./lib/cli/run-line.ts";
import { exitCodes } from "./lib/cli/script-error.ts";
import { formatMigration } from "./lib/operations/format-migration.ts";
import { formatRotation } from "./lib/operations/format-rotation.ts";
import { formatSecretsStatus } from "./lib/operations/format-secrets-status.ts";
import { defineConfiguredScript, defineStackScript } from "./lib/stack/define-stack-script.ts";

const deleteFiles = { type: "boolean", description: "Delete the files of what Vault has" } as const;
const { mode, database, user, timeout, secrets, port, grace } = stackFlags;

const init = defineStackScript({
  meta: { name: "init", description: "Initialises the secret store and sets up Vault. Existing values are kept." },
  args: { mode, port, database, user, timeout, secrets, yes: yesFlag },
  examples: [[runLine("secrets init"), "Repair the store and deliver AppRole credentials"]],
  run: async ({ stack, confirm, ...run }) => (await import("./lib/stack/secrets.ts")).initSecrets(stack, run, confirm),
  print({ details, place, location, isChanged }, output) {
    for (const detail of details) output.result(detail);
    output.result(`${output.style("green", "ready")}${isChanged ? "" : " (nothing to change)"}  ${place} ${location}`);
  },
});

const show = defineStackScript({
  meta: { name: "show", description: "Shows the application's credentials, with the password masked." },
  args: {
    mode,
    database,
    timeout,
    secrets,
    reveal: { type: "boolean", description: "Print the password" },
    env: { type: "boolean", description: "Print export lines for the shell" },
    spring: { type: "boolean", description: "Print the properties of a Spring data source" },
  },
  examples: [[runLine("secrets show --spring --reveal"), "Print spring.datasource properties"]],
  async run({ args, stack }) {
    const { readSecretData } = await import("./lib/stack/secrets.ts");
    const { renderSecret } = await import("./lib/secrets/render.ts");
    const format = args.env ? "env" : args.spring ? "spring" : "plain";
    return renderSecret(await readSecretData(stack), { format, reveal: args.reveal });
  },
  print(entries, output) {
    for (const { line } of entries) output.result(line);
  },
});

const status = defineStackScript({
  meta: { name: "status", description: "Shows where the secrets are kept, and whether the store is ready." },
  args: { mode, timeout, secrets },
  examples: [[runLine("secrets status"), "Show the store and its versions"]],
  run: async ({ stack }) => (await import("./lib/stack/secrets.ts")).readSecretsStatus(stack),
  print: (status, output) => output.result(formatSecretsStatus(status)),
  exitCode: ({ isReady }) => (isReady ? exitCodes.ok : exitCodes.notReady),
});

const migrate = defineStackScript({
  meta: { name: "migrate", description: "Copies the credentials from files to Vault, and uses Vault from then on." },
  args: { mode, timeout, secrets, "delete-files": deleteFiles, yes: yesFlag },
  examples: [[runLine("secrets migrate --secrets vault"), "Move the credentials to Vault"]],
  async run({ args, stack, confirm, ...run }) {
    const { migrateSecrets } = await import("./lib/stack/secrets.ts");
    return migrateSecrets(stack, run, { deleteFiles: args["delete-files"], confirm });
  },
  print: (migrated, output) => output.result(formatMigration(migrated)),
});

const rotate = defineConfiguredScript({
  meta: { name: "rotate", description: "Rotates credentials without downtime. The old ones expire after --grace." },
  args: {
    mode,
    database,
    timeout,
    secrets,
    grace,
    yes: { type: "boolean", alias: "y", description: "Rotate even if the previous credentials are still valid" },
  },
  examples: [
    [runLine("secrets rotate"), "Rotate; the old credentials expire in an hour"],
    [runLine("secrets rotate --grace 0s"), "Lock out anyone who knows the old password"],
  ],
  async run({ args, config, reporter, signal }) {
    const { rotateLogin } = await import("./lib/stack/rotate.ts");
    return rotateLogin(config, { reporter, signal }, { endGrace: args.yes });
  },
  print: (rotation, output) => output.result(formatRotation(rotation)),
});

const dynamic = defineStackScript({
  meta: { name: "dynamic", description: "Configures Vault to issue short-lived logins." },
  args: { mode, database, timeout, secrets },
  examples: [[`VAULT_TOKEN=… ${runLine("secrets dynamic")}`, "Configure Vault's database engine"]],
  run: async ({ stack, ...run }) => (await import("./lib/stack/dynamic.ts")).enableDynamicLogins(stack, run),
  print({ path, policy }, output) {
    output.result(`to get a login, read ${path} with the policy ${policy}`);
  },
});

const sweep = defineStackScript({
  meta: { name: "sweep", description: "Drops expired logins that Vault did not revoke." },
  args: { mode, database, timeout },
  examples: [[runLine("secrets sweep"), "Drop the logins that a lost Vault issued"]],
  run: async ({ stack, ...run }) => (await import("./lib/stack/dynamic.ts")).sweepDynamicLogins(stack, run),
  print(swept, output) {
    for (const name of swept) output.result(`dropped ${name}`);
    if (swept.length === 0) output.result("nothing to drop");
  },
});

export const command = defineScriptGroup({
  meta: { name: "secrets", description: "Initialises, shows, rotates and moves the application's credentials." },
  examples: [[runLine("secrets show --reveal"), "Show the credentials, password included"]],
  subCommands: { init, show, status, rotate, migrate, dynamic, sweep },
});

if (import.meta.main) await runAsProcess(command);
