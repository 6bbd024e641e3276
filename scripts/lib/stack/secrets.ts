import { runLine } from "../cli/run-line.ts";
import { choosePort } from "../postgres/server/port.ts";
import { type ApplicationEndpoint, ensureApplicationSecret, secretPaths } from "../secrets/application-secret.ts";
import type { FileSecretStore } from "../secrets/file-store.ts";
import { isSameSecret, type SecretData } from "../secrets/store.ts";
import { VaultSecretStore } from "../secrets/vault/store.ts";
import { type Confirm, confirmRepointing, confirmStoredSecret } from "./repoint.ts";
import { noVault, openFileStore, rememberedSecrets, type SecretsPlace } from "./secret-store.ts";
import {
  administratorTarget,
  applicationSecretPath,
  lockForRun,
  openStack,
  type RunContext,
  requireSecret,
  type Stack,
} from "./stack.ts";
import { writeState } from "./state.ts";
import { prepareVault } from "./vault-setup.ts";

/** The state of a stack's secrets, without their values. */
export interface SecretsStatus {
  readonly place: SecretsPlace;
  readonly location: string;
  readonly isReady: boolean;
  /** The version of each secret, 0 if it does not exist; null if the store is not ready. */
  readonly versions: Readonly<Record<string, number>> | null;
}

/** The result of `secrets init`. */
export interface SecretsInit {
  readonly place: SecretsPlace;
  readonly location: string;
  readonly isChanged: boolean;
  readonly details: readonly string[];
}

/** The result of `secrets migrate` for one secret. */
export interface MigratedSecret {
  readonly path: string;
  /** `different`: Vault has other values and keeps them. */
  readonly outcome: "copied" | "same" | "different" | "absent";
  /** The folder that still contains the secret, with its earlier versions, in plain text; null if there is none. */
  readonly folder: string | null;
  /** How many earlier keys of archives only the files have; 0 for other secrets, whose earlier values are obsolete. */
  readonly earlierKeys: number;
}

/** What `secrets migrate` does besides copying. */
export interface MigrateOptions {
  /** Whether to delete the files of the secrets that Vault has. */
  readonly deleteFiles: boolean;
  readonly confirm: Confirm;
}

const applicationPaths = [secretPaths.application, secretPaths.applicationLocal];
const migratedPaths = [...applicationPaths, secretPaths.archiveKey];

/** Initialises the secret store and the application's credentials. Idempotent: existing values are kept. */
export async function initSecrets(found: Stack, run: RunContext, confirm: Confirm): Promise<SecretsInit> {
  using _lock = await lockForRun(found, run, "secrets init");
  await confirmRepointing(found, confirm);
  const vault = found.secretsPlace === "file" ? undefined : await prepareVault(found, run);
  const stack = await openStack(found.config);
  await confirmStoredSecret(stack, confirm);
  const { isChanged } = await ensureApplicationSecret(stack.secrets, await findEndpoint(stack), stack.config.password);
  if (stack.secrets instanceof VaultSecretStore) await labelSecrets(stack.secrets);
  const details = [...(vault?.isChanged === true ? [vault.detail] : []), ...(isChanged ? ["wrote the secrets"] : [])];
  const { location } = await stack.secrets.status();
  return { place: stack.secretsPlace, location, isChanged: details.length > 0, details };
}

/**
 * Reads the application's secret that CQRS_SECRET selects, without checking its keys.
 *
 * @throws {ScriptError} `SECRETS_MISSING` (exit 3)
 */
export async function readSecretData(stack: Stack): Promise<SecretData> {
  return (await requireSecret(stack.secrets, applicationSecretPath(stack))).data;
}

/** Reads where the secrets are, whether the store is ready, and which versions it has. */
export async function readSecretsStatus(stack: Stack): Promise<SecretsStatus> {
  const { location, isReady } = await stack.secrets.status();
  const versions: Record<string, number> = {};
  if (isReady) {
    for (const path of applicationPaths) versions[path] = (await stack.secrets.read(path))?.version ?? 0;
  }
  return { place: stack.secretsPlace, location, isReady, versions: isReady ? versions : null };
}

/**
 * Copies the application's credentials from files to Vault, and makes later scripts use Vault. Sets up Vault if needed.
 *
 * @throws {ScriptError} `NOT_VAULT` (exit 2) if no Vault is configured, `REFUSED` (exit 8)
 */
export async function migrateSecrets(
  found: Stack,
  run: RunContext,
  { deleteFiles, confirm }: MigrateOptions,
): Promise<readonly MigratedSecret[]> {
  if (found.secretsPlace === "file") {
    const fix = `Set VAULT_ADDR and VAULT_TOKEN, or run ${runLine("secrets migrate")} --secrets vault to start a local Vault.`;
    throw noVault("move the secrets to", fix);
  }
  using _lock = await lockForRun(found, run, "secrets migrate");
  if (deleteFiles) await confirmDeletion(found, confirm);
  await prepareVault(found, run);
  const stack = await openStack(found.config);
  const migrated = await copySecrets(stack);
  const { remembered, stackDir } = stack;
  if (remembered !== undefined) await writeState(stackDir, { ...remembered, ...rememberedSecrets(stack) });
  if (!deleteFiles) return migrated;
  const kept: MigratedSecret[] = [];
  for (const secret of migrated) kept.push(await deleteFile(stack, secret));
  return kept;
}

/** Applications that run read the files whenever they open a session. */
async function confirmDeletion({ config }: Stack, confirm: Confirm): Promise<void> {
  const files = openFileStore(config);
  const folders: string[] = [];
  for (const path of migratedPaths) {
    if ((await files.read(path)) !== undefined) folders.push(files.folderOf(path));
  }
  if (folders.length === 0) return;
  await confirm({
    plan: [
      "deletes, once Vault has the same values:",
      ...folders.map((folder) => `  ${folder}`),
      "Before that, restart applications with the settings of Vault: those that use the files lose their credentials.",
    ].join("\n"),
    question: "Delete the files?",
    refusal: "Nothing was copied or deleted",
    data: { folders },
  });
}

/** Asks Vault once more before it deletes anything. */
async function deleteFile(stack: Stack, secret: MigratedSecret): Promise<MigratedSecret> {
  if (secret.earlierKeys > 0) return secret;
  const files = openFileStore(stack.config);
  const [source, stored] = [await files.read(secret.path), await stack.secrets.read(secret.path)];
  if (source === undefined || stored === undefined || !isSameSecret(source.data, stored.data)) return secret;
  await files.remove(secret.path);
  return { ...secret, folder: null };
}

/** Copies secrets from files to the stack's store. Values that the store already has are kept. */
export async function copySecrets(stack: Stack): Promise<readonly MigratedSecret[]> {
  const files = openFileStore(stack.config);
  const migrated: MigratedSecret[] = [];
  for (const path of migratedPaths) {
    const source = await files.read(path);
    if (source === undefined) {
      migrated.push({ path, outcome: "absent", folder: null, earlierKeys: 0 });
      continue;
    }
    const { data, isNew } = await stack.secrets.ensure(path, () => source.data);
    const outcome = isNew ? "copied" : isSameSecret(data, source.data) ? "same" : "different";
    const earlierKeys = path === secretPaths.archiveKey ? await countOtherValues(files, path, data) : 0;
    migrated.push({ path, outcome, folder: files.folderOf(path), earlierKeys });
  }
  return migrated;
}

async function countOtherValues(files: FileSecretStore, path: string, stored: SecretData): Promise<number> {
  return (await files.readVersions(path)).filter((data) => !isSameSecret(data, stored)).length;
}

async function labelSecrets(store: VaultSecretStore): Promise<void> {
  const metadata = { "managed-by": "cqrs-postgres", "to-change": "write a new version, then run bootstrap" };
  for (const path of applicationPaths) await store.writeMetadata(path, metadata);
}

/** The server's address; before the first bootstrap, the address it will have. */
async function findEndpoint(stack: Stack): Promise<ApplicationEndpoint> {
  const { database, user: username, config, remembered, stackDir } = stack;
  if (stack.mode === "external") {
    const { user: _, password: __, ...server } = await administratorTarget(stack);
    return { ...server, database, username };
  }
  const port = remembered?.port ?? config.port ?? (await choosePort(stackDir));
  return { host: "127.0.0.1", port, database, username };
}
