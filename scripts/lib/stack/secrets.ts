import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { choosePort } from "../postgres/server/port.ts";
import { type ApplicationEndpoint, ensureApplicationSecret, secretPaths } from "../secrets/application-secret.ts";
import type { SecretData } from "../secrets/store.ts";
import { VaultSecretStore } from "../secrets/vault/store.ts";
import { openFileStore, rememberedSecrets, type SecretsPlace } from "./secret-store.ts";
import { administratorTarget, lockForRun, openStack, type RunContext, type Stack } from "./stack.ts";
import { writeState } from "./state.ts";
import { prepareVault } from "./vault-setup.ts";

/** What the secrets of a stack are, without their values. */
export interface SecretsStatus {
  readonly place: SecretsPlace;
  readonly location: string;
  readonly isReady: boolean;
  /** Null when it can't be told: a version is 0 where there is no such secret. */
  readonly versions: Readonly<Record<string, number>> | null;
}

/** What an initialisation has done. */
export interface SecretsInit {
  readonly place: SecretsPlace;
  readonly location: string;
  readonly isChanged: boolean;
  readonly details: readonly string[];
}

/** What became of one secret. */
export interface MigratedSecret {
  readonly path: string;
  /** `different`: Vault has other values, and keeps them. */
  readonly outcome: "copied" | "same" | "different" | "absent";
}

const applicationPaths = [secretPaths.application, secretPaths.applicationLocal];

/**
 * Has the secret store of a stack filled: what is needed to use it, and the application's credentials. Values that are
 * there already stay.
 *
 * @throws {ScriptError} naming what is in the way and how to mend it
 */
export async function initSecrets(found: Stack, run: RunContext): Promise<SecretsInit> {
  using _lock = await lockForRun(found, "secrets init", run);
  const vault = found.secretsPlace === "file" ? undefined : await prepareVault(found, run);
  const stack = await openStack(found.config);
  const { isChanged } = await ensureApplicationSecret(stack.secrets, await endpointOf(stack), stack.config.password);
  if (stack.secrets instanceof VaultSecretStore) await describeSecrets(stack.secrets);
  const details = [...(vault?.isChanged === true ? [vault.detail] : []), ...(isChanged ? ["wrote the secrets"] : [])];
  const { location } = await stack.secrets.status();
  return { place: stack.secretsPlace, location, isChanged: details.length > 0, details };
}

/** Reads the application's secret from the store, with whatever keys it has. */
export async function readSecretData(stack: Stack): Promise<SecretData> {
  const secret = await stack.secrets.read(secretPaths.application);
  if (secret !== undefined) return secret.data;
  throw new ScriptError({
    code: "SECRETS_MISSING",
    exitCode: exitCodes.notReady,
    message: `There is no secret ${secretPaths.application}`,
    why: "The secret store was never filled, or was emptied.",
    fix: "bun run secrets init",
  });
}

/** Tells where the secrets are, whether the store can be used, and which versions it has. */
export async function readSecretsStatus(stack: Stack): Promise<SecretsStatus> {
  const { location, isReady } = await stack.secrets.status();
  const versions: Record<string, number> = {};
  if (isReady) {
    for (const path of applicationPaths) versions[path] = (await stack.secrets.read(path))?.version ?? 0;
  }
  return { place: stack.secretsPlace, location, isReady, versions: isReady ? versions : null };
}

/**
 * Moves the application's credentials from files to Vault, prepares that where it has to, and has later scripts use it.
 *
 * @throws {ScriptError} `NOT_VAULT` (exit 2) when the configuration names no Vault
 */
export async function migrateSecrets(found: Stack, run: RunContext): Promise<readonly MigratedSecret[]> {
  if (found.secretsPlace === "file") throw notVault();
  using _lock = await lockForRun(found, "secrets migrate", run);
  await prepareVault(found, run);
  const stack = await openStack(found.config);
  const migrated = await copySecrets(stack);
  const { remembered, stackDir } = stack;
  if (remembered !== undefined) await writeState(stackDir, { ...remembered, ...rememberedSecrets(stack) });
  return migrated;
}

/** Copies what the files have and the stack's store does not; what that has already stays as it is. */
export async function copySecrets(stack: Stack): Promise<readonly MigratedSecret[]> {
  const files = openFileStore(stack.config);
  const migrated: MigratedSecret[] = [];
  for (const path of [...applicationPaths, secretPaths.archiveKey]) {
    const source = await files.read(path);
    if (source === undefined) {
      migrated.push({ path, outcome: "absent" });
      continue;
    }
    const { data, isNew } = await stack.secrets.ensure(path, () => source.data);
    const isSame =
      JSON.stringify(Object.entries(data).toSorted()) === JSON.stringify(Object.entries(source.data).toSorted());
    migrated.push({ path, outcome: isNew ? "copied" : isSame ? "same" : "different" });
  }
  return migrated;
}

async function describeSecrets(store: VaultSecretStore): Promise<void> {
  const facts = { "managed-by": "cqrs-postgres", "to-change": "write a new version, then run bootstrap" };
  for (const path of applicationPaths) await store.describe(path, facts);
}

/** Where the server is or, before the first bootstrap, where it is going to be. */
async function endpointOf(stack: Stack): Promise<ApplicationEndpoint> {
  const { database, user: username, config, remembered, stackDir } = stack;
  if (stack.mode === "external") {
    const { host, port } = await administratorTarget(stack);
    return { host, port, database, username };
  }
  const port = remembered?.port ?? config.port ?? (await choosePort(stackDir));
  return { host: "127.0.0.1", port, database, username };
}

function notVault(): ScriptError {
  return new ScriptError({
    code: "NOT_VAULT",
    exitCode: exitCodes.usage,
    message: "There is no Vault to move the secrets to",
    why: "The secrets of this stack are in files, and no setting names a Vault.",
    fix: "Set VAULT_ADDR and VAULT_TOKEN, or let a local one be started: bun run secrets migrate --secrets vault",
  });
}
