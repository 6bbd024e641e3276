import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { runLine } from "../../cli/run-line.ts";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { replaceDurably } from "../../durable-file.ts";
import { pollUntil } from "../../retry.ts";
import type { AppRoleCredentials, SendUnauthenticated } from "./authentication.ts";
import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";
import { revokeSecretId } from "./revocation.ts";
import type { AppRoleName } from "./setup.ts";
import type { VaultBody } from "./transport.ts";

/** How long a delivery stays valid. */
const wrapTtl = "24h";
/** Also the maximum age of a token of the application. */
const dayMs = 24 * 3600 * 1000;
const clockSkewMs = 60_000;
/** How long another process may take to write the secret id that it unwrapped. */
const concurrentUnwrap = { timeoutMs: 3000, intervalMs: 50 } as const;

/** What the credentials folder contains for an AppRole. */
export type CredentialState = "none" | "delivered" | "received";

/** How a delivery was lost: someone else received it, or it was not received in time (or by someone else). */
export type DeliveryLoss = "taken" | "expired";

interface Delivery {
  /** The wrapping token. */
  readonly token: string;
  /** Also stored in the metadata of the secret id, so that an intercepted one can be found and revoked. */
  readonly delivery: string;
}

/** Reads what the folder contains for an AppRole, without asking Vault. */
export async function credentialState(folder: string, role: AppRoleName): Promise<CredentialState> {
  if ((await readSecretFile(file(folder, role, "secret-id"))) !== undefined) return "received";
  return (await readDelivery(folder, role)) === undefined ? "none" : "delivered";
}

/**
 * Ensures that the folder contains valid credentials for an AppRole. Delivers a single-use token that wraps the secret
 * id, not the secret id itself. Call {@link revokeLostDelivery} first.
 *
 * @returns whether anything was delivered
 */
export async function ensureDelivered(client: VaultClient, folder: string, role: AppRoleName): Promise<boolean> {
  const secretId = await readSecretFile(file(folder, role, "secret-id"));
  if (secretId === undefined && (await readDelivery(folder, role)) !== undefined) return false;
  if (secretId !== undefined && (await isValidSecretId(client, role, secretId))) return false;
  await deliverSecretId(client, folder, role);
  return true;
}

/** Whether the folder contains a delivery that can no longer be unwrapped. Changes nothing. */
export async function isDeliveryTaken(client: VaultClient, folder: string, role: AppRoleName): Promise<boolean> {
  if ((await credentialState(folder, role)) !== "delivered") return false;
  const delivery = await readDelivery(folder, role);
  return delivery !== undefined && !(await isUnopened(client, delivery));
}

/**
 * If a delivery can no longer be received, destroys its secret id and the delivery. Its tokens are still to be revoked:
 * the folder records the loss until {@link forgetLoss} is called.
 */
export async function revokeLostDelivery(client: VaultClient, folder: string, role: AppRoleName): Promise<void> {
  const delivery = await readDelivery(folder, role);
  if (delivery === undefined || (await credentialState(folder, role)) === "received") return;
  if (await isUnopened(client, delivery)) return;
  const wrapped = file(folder, role, "wrapped");
  const isExpired = (await ageOf(wrapped)) > dayMs - clockSkewMs;
  await writeSecretFile(file(folder, role, "lost"), isExpired ? "expired" : "taken");
  await revokeSecretId(client, role, delivery.delivery);
  await rm(wrapped, { force: true });
}

/**
 * @returns how a delivery was lost whose tokens were not revoked; undefined if there is none, or if its tokens have
 * reached their maximum age. Someone with the secret id of `cqrs-init` could create others, again and again.
 */
export async function readLoss(folder: string, role: AppRoleName): Promise<DeliveryLoss | undefined> {
  const lost = file(folder, role, "lost");
  const loss = await readSecretFile(lost);
  if (loss === undefined || (role === "cqrs-app" && (await ageOf(lost)) > dayMs)) return undefined;
  return loss as DeliveryLoss;
}

/** Forgets a loss if a file was written since, which happens only after the tokens of AppRoles were revoked. */
export async function forgetLossBefore(folder: string, role: AppRoleName, written: string): Promise<void> {
  const lost = file(folder, role, "lost");
  if (existsSync(lost) && (await ageOf(written)) < (await ageOf(lost))) await forgetLoss(folder, role);
}

/** Removes the credentials of an AppRole from the folder, so that {@link ensureDelivered} delivers others. */
export async function discardCredentials(folder: string, role: AppRoleName): Promise<void> {
  for (const kind of ["wrapped", "secret-id"] as const) await rm(file(folder, role, kind), { force: true });
}

export function forgetLoss(folder: string, role: AppRoleName): Promise<void> {
  return rm(file(folder, role, "lost"), { force: true });
}

async function ageOf(path: string): Promise<number> {
  return Date.now() - (await stat(path)).mtimeMs;
}

/**
 * Reads the credentials of an AppRole, and unwraps the delivery if necessary. If someone else has unwrapped it, the
 * secret id is compromised: that is reported as an error, never repaired silently.
 *
 * @throws {ScriptError} `VAULT_DELIVERY_TAKEN` or `VAULT_DELIVERY_FORGED` (exit 6)
 */
export async function receiveCredentials(
  send: SendUnauthenticated,
  folder: string,
  role: AppRoleName,
): Promise<AppRoleCredentials> {
  const roleId = await readSecretFile(file(folder, role, "role-id"));
  if (roleId === undefined) throw nothingDelivered(folder, role);
  const known = await readSecretFile(file(folder, role, "secret-id"));
  return { roleId, secretId: known ?? (await unwrap(send, folder, role)) };
}

async function unwrap(send: SendUnauthenticated, folder: string, role: AppRoleName): Promise<string> {
  const delivery = await readDelivery(folder, role);
  if (delivery === undefined) throw nothingDelivered(folder, role);
  try {
    await checkOrigin(send, delivery, role);
    const request = { method: "POST", path: "sys/wrapping/unwrap", token: delivery.token } as const;
    const data = contentOf(await send(request, { isRepeatable: false }));
    await writeSecretFile(file(folder, role, "secret-id"), data.secret_id);
    await rm(file(folder, role, "wrapped"), { force: true });
    return data.secret_id;
  } catch (error) {
    if (!isUnwrapFailure(error)) throw error;
    // Another of our processes may have unwrapped it concurrently and be about to write the secret id.
    const secretId = await pollUntil(() => readSecretFile(file(folder, role, "secret-id")), concurrentUnwrap);
    return secretId ?? Promise.reject(error.status >= 500 ? error : deliveryTaken(role));
  }
}

/** If the token wraps anything else, someone replaced our delivery. */
async function checkOrigin(send: SendUnauthenticated, { token }: Delivery, role: AppRoleName): Promise<void> {
  const data = contentOf(await send({ method: "POST", path: "sys/wrapping/lookup", body: { token } }));
  if (data.creation_path !== `auth/approle/role/${role}/secret-id`) throw deliveryForged(role);
}

/** While another request unwraps a token, Vault may still accept it, but has nothing left to return. */
function contentOf({ data }: VaultBody): NonNullable<VaultBody["data"]> {
  if (data) return data;
  throw new VaultFailure({ kind: "http", status: 404, text: "the wrapping token is being unwrapped" });
}

/** Delivers a new secret id; the previous one stays valid until it expires. */
export async function deliverSecretId(client: VaultClient, folder: string, role: AppRoleName): Promise<void> {
  const path = `auth/approle/role/${role}`;
  const { data } = await client.request({ method: "GET", path: `${path}/role-id` });
  const delivery = randomUUID();
  const body = { metadata: JSON.stringify({ delivery }) };
  const wrapped = await client.request({ method: "POST", path: `${path}/secret-id`, body, wrapTtl });
  const content: Delivery = { token: wrapped.wrap_info?.token ?? "", delivery };
  await writeSecretFile(file(folder, role, "role-id"), data.role_id);
  await writeSecretFile(file(folder, role, "wrapped"), JSON.stringify(content));
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

async function isUnopened(client: VaultClient, { token }: Delivery): Promise<boolean> {
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

/** Of requests that unwrap one token concurrently, Vault answers some with 500 instead of 400. */
function isUnwrapFailure(error: unknown): error is VaultFailure {
  return error instanceof VaultFailure && [400, 403, 404, 500].includes(error.status);
}

function file(folder: string, role: AppRoleName, kind: "role-id" | "secret-id" | "wrapped" | "lost"): string {
  return join(folder, `${role}.${kind}`);
}

async function readDelivery(folder: string, role: AppRoleName): Promise<Delivery | undefined> {
  const text = await readSecretFile(file(folder, role, "wrapped"));
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Delivery);
  } catch {
    return undefined;
  }
}

/** @returns the content of a file; undefined if the file does not exist or is empty */
export async function readSecretFile(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.trim() || undefined;
}

/** Writes a file atomically; only its owner can read it. */
export async function writeSecretFile(path: string, text: string): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true, mode: 0o700 });
  await replaceDurably(path, `${text}\n`);
}

function nothingDelivered(folder: string, role: AppRoleName): ScriptError {
  return new ScriptError({
    code: "VAULT_NO_LOGIN",
    exitCode: exitCodes.authentication,
    message: `There are no credentials for the AppRole ${role}`,
    why: `None were delivered to ${folder}.`,
    fix: `Run ${runLine("secrets init")}.`,
  });
}

function deliveryTaken(role: AppRoleName): ScriptError {
  return new ScriptError({
    code: "VAULT_DELIVERY_TAKEN",
    exitCode: exitCodes.authentication,
    message: `The delivered secret id of the AppRole ${role} can no longer be unwrapped`,
    why: `Its wrapping token has expired (after ${wrapTtl}), or someone else used it and has the secret id.`,
    fix:
      `Run ${runLine("secrets init")}, which revokes that secret id and its tokens, and delivers a new one. ` +
      `Then run ${runLine("secrets rotate")} --grace 0s --yes, because they could read the password.`,
  });
}

function deliveryForged(role: AppRoleName): ScriptError {
  return new ScriptError({
    code: "VAULT_DELIVERY_FORGED",
    exitCode: exitCodes.authentication,
    message: `The delivery for the AppRole ${role} does not contain its secret id`,
    why: "Its wrapping token was created at another path in Vault: someone replaced our delivery.",
    fix: `Find out who wrote the .wrapped file, remove it, then run ${runLine("secrets init")}.`,
  });
}
