import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { replaceDurably } from "../../durable-file.ts";
import type { AppRoleCredentials, SendUnauthenticated } from "./authentication.ts";
import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";
import type { AppRoleName } from "./setup.ts";

/** How long a delivery waits to be taken. */
const wrapTtl = "24h";
const othersWaitMs = 3000;
const pollIntervalMs = 50;

/** What is in the folder of credentials for an AppRole. */
export type CredentialState = "none" | "delivered" | "received";

interface Delivery {
  /** The wrapping token. */
  readonly token: string;
  /** Stands in the metadata of the secret id, so that one that was intercepted can be found and revoked. */
  readonly delivery: string;
}

/** Tells what a folder holds for an AppRole, without asking Vault. */
export async function credentialState(folder: string, role: AppRoleName): Promise<CredentialState> {
  if ((await readSecret(file(folder, role, "secret-id"))) !== undefined) return "received";
  return (await readDelivery(folder, role)) === undefined ? "none" : "delivered";
}

/**
 * Has valid credentials for an AppRole in the folder: leaves good ones, delivers new ones else. What is delivered is not
 * the secret id but a single-use token that it is wrapped in.
 *
 * @returns whether something was delivered
 */
export async function ensureDelivered(client: VaultClient, folder: string, role: AppRoleName): Promise<boolean> {
  const delivery = await readDelivery(folder, role);
  const secretId = await readSecret(file(folder, role, "secret-id"));
  if (secretId !== undefined && (await isValidSecretId(client, role, secretId))) return false;
  if (secretId === undefined && delivery !== undefined) {
    if (await isWaiting(client, delivery)) return false;
    await revokeDelivery(client, role, delivery);
  }
  await deliver(client, folder, role);
  return true;
}

/**
 * Reads the credentials of an AppRole; takes the delivery when it was not taken yet. Whoever took it before us has the
 * secret id, and is not us: that is told, not repaired silently.
 *
 * @throws {ScriptError} `VAULT_DELIVERY_TAKEN` or `VAULT_DELIVERY_FORGED` (exit 6)
 */
export async function receive(
  send: SendUnauthenticated,
  folder: string,
  role: AppRoleName,
): Promise<AppRoleCredentials> {
  const roleId = await readSecret(file(folder, role, "role-id"));
  if (roleId === undefined) throw nothingDelivered(folder, role);
  const known = await readSecret(file(folder, role, "secret-id"));
  return { roleId, secretId: known ?? (await unwrap(send, folder, role)) };
}

async function unwrap(send: SendUnauthenticated, folder: string, role: AppRoleName): Promise<string> {
  const delivery = await readDelivery(folder, role);
  if (delivery === undefined) throw nothingDelivered(folder, role);
  try {
    await checkOrigin(send, delivery, role);
    const request = { method: "POST", path: "sys/wrapping/unwrap", token: delivery.token } as const;
    const { data } = await send(request, { isRepeatable: false });
    await writeSecret(file(folder, role, "secret-id"), data.secret_id);
    await rm(file(folder, role, "wrapped"), { force: true });
    return data.secret_id;
  } catch (error) {
    if (!isInvalidWrapping(error)) throw error;
    // Another process of ours may have taken it at the same time; then it is about to write it down.
    return (await awaitSecretId(folder, role)) ?? Promise.reject(deliveryTaken(role));
  }
}

/** A token that wraps anything else was put in the place of ours. */
async function checkOrigin(send: SendUnauthenticated, { token }: Delivery, role: AppRoleName): Promise<void> {
  const { data } = await send({ method: "POST", path: "sys/wrapping/lookup", body: { token } });
  if (data.creation_path !== `auth/approle/role/${role}/secret-id`) throw deliveryForged(role);
}

async function awaitSecretId(folder: string, role: AppRoleName): Promise<string | undefined> {
  const deadline = Date.now() + othersWaitMs;
  for (;;) {
    const secretId = await readSecret(file(folder, role, "secret-id"));
    if (secretId !== undefined || Date.now() > deadline) return secretId;
    await sleep(pollIntervalMs);
  }
}

/** Delivers a new secret id; one that was received before stays good until its own end. */
export async function deliver(client: VaultClient, folder: string, role: AppRoleName): Promise<void> {
  const path = `auth/approle/role/${role}`;
  const { data } = await client.request({ method: "GET", path: `${path}/role-id` });
  const delivery = randomUUID();
  const body = { metadata: JSON.stringify({ delivery }) };
  const wrapped = await client.request({ method: "POST", path: `${path}/secret-id`, body, wrapTtl });
  const content: Delivery = { token: wrapped.wrap_info?.token ?? "", delivery };
  await writeSecret(file(folder, role, "role-id"), data.role_id);
  await writeSecret(file(folder, role, "wrapped"), JSON.stringify(content));
  await rm(file(folder, role, "secret-id"), { force: true });
}

async function isValidSecretId(client: VaultClient, role: AppRoleName, secretId: string): Promise<boolean> {
  const path = `auth/approle/role/${role}/secret-id/lookup`;
  try {
    const { data } = await client.request({ method: "POST", path, body: { secret_id: secretId } }, { expected: [404] });
    return data !== undefined && Date.parse(data.expiration_time) > Date.now();
  } catch (error) {
    if (error instanceof VaultFailure) return false;
    throw error;
  }
}

async function isWaiting(client: VaultClient, { token }: Delivery): Promise<boolean> {
  try {
    await client.anonymously(
      { method: "POST", path: "sys/wrapping/lookup", body: { token } },
      { expected: [400, 403] },
    );
    return true;
  } catch (error) {
    if (error instanceof VaultFailure) return false;
    throw error;
  }
}

/** Whoever took a delivery that was not his loses what he got. */
async function revokeDelivery(client: VaultClient, role: AppRoleName, { delivery }: Delivery): Promise<void> {
  const path = `auth/approle/role/${role}`;
  const accessors = await listAccessors(client, path);
  for (const accessor of accessors) {
    const body = { secret_id_accessor: accessor };
    const found = await client
      .request({ method: "POST", path: `${path}/secret-id-accessor/lookup`, body }, { expected: [404] })
      .catch(ignoreFailure);
    if (found?.data?.metadata?.delivery !== delivery) continue;
    await client.request({ method: "POST", path: `${path}/secret-id-accessor/destroy`, body });
  }
}

async function listAccessors(client: VaultClient, path: string): Promise<readonly string[]> {
  const request = { method: "GET", path: `${path}/secret-id`, isList: true } as const;
  const answer = await client.request(request, { expected: [404] }).catch(ignoreFailure);
  return answer?.data?.keys ?? [];
}

function ignoreFailure(error: unknown): undefined {
  if (!(error instanceof VaultFailure)) throw error;
}

function isInvalidWrapping(error: unknown): boolean {
  return error instanceof VaultFailure && (error.status === 400 || error.status === 403 || error.status === 404);
}

function file(folder: string, role: AppRoleName, kind: "role-id" | "secret-id" | "wrapped"): string {
  return join(folder, `${role}.${kind}`);
}

async function readDelivery(folder: string, role: AppRoleName): Promise<Delivery | undefined> {
  const text = await readSecret(file(folder, role, "wrapped"));
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Delivery);
  } catch {
    return undefined;
  }
}

/** @returns the content of a file, undefined when there is none */
export async function readSecret(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.trim() || undefined;
}

/** Writes a file that only its owner can read: whole, or not at all. */
export async function writeSecret(path: string, text: string): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true, mode: 0o700 });
  await replaceDurably(path, `${text}\n`);
}

function nothingDelivered(folder: string, role: AppRoleName): ScriptError {
  return new ScriptError({
    code: "VAULT_NO_LOGIN",
    exitCode: exitCodes.authentication,
    message: `There are no credentials of the AppRole ${role}`,
    why: `None were delivered to ${folder}.`,
    fix: "bun run secrets init",
  });
}

function deliveryTaken(role: AppRoleName): ScriptError {
  return new ScriptError({
    code: "VAULT_DELIVERY_TAKEN",
    exitCode: exitCodes.authentication,
    message: `The secret id of the AppRole ${role} was delivered, but somebody else took it`,
    why: `Its wrapping token was used already, or lay there for longer than ${wrapTtl}: if it was used, a stranger has the secret id.`,
    fix: "bun run secrets init revokes that secret id and delivers a new one.",
  });
}

function deliveryForged(role: AppRoleName): ScriptError {
  return new ScriptError({
    code: "VAULT_DELIVERY_FORGED",
    exitCode: exitCodes.authentication,
    message: `What was delivered for the AppRole ${role} is not its secret id`,
    why: "The wrapping token was made by another path of Vault: somebody has put his own in the place of ours.",
    fix: "Remove that file, find out who wrote it, then run bun run secrets init.",
  });
}
