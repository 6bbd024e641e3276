import type { StepResult } from "../cli/reporter.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isInImage } from "../paths.ts";
import { tokenLogin } from "../secrets/vault/authentication.ts";
import { VaultClient } from "../secrets/vault/client.ts";
import {
  credentialState,
  type DeliveryLoss,
  deliverSecretId,
  discardCredentials,
  ensureDelivered,
  forgetLoss,
  forgetLossBefore,
  readLoss,
  receiveCredentials,
  revokeLostDelivery,
} from "../secrets/vault/delivery.ts";
import { revokeAll, revokeStrayTokens } from "../secrets/vault/revocation.ts";
import { generateRoot, revokeRoot, revokeStrayRoots } from "../secrets/vault/root.ts";
import { type AppRoleName, appRoles, canReadSetup, setUpVault } from "../secrets/vault/setup.ts";
import { ensureLocalVault, localVaultFiles, type RunningVault } from "./local-vault.ts";
import { openVaultClient, vaultLimits } from "./secret-store.ts";
import { type RunContext, type Stack, waitLimit } from "./stack.ts";

/**
 * Sets up the Vault of a stack: starts and unseals a local Vault, sets up the engine, policies and AppRoles, and
 * delivers the credentials of the AppRoles. Idempotent.
 */
export async function prepareVault(stack: Stack, run: RunContext): Promise<StepResult> {
  const changes =
    stack.secretsPlace === "local-vault" ? await prepareLocal(stack, run) : await prepareExisting(stack, run);
  return { isChanged: changes.length > 0, detail: changes.join(", ") || "up to date" };
}

/**
 * Delivers a new secret id to the application, if the application received its last one here. The previous secret id
 * stays valid until it expires, so a running application keeps working.
 */
export async function renewApplicationLogin(stack: Stack): Promise<StepResult> {
  const folder = localVaultFiles(stack.stackDir).credentials;
  if ((await credentialState(folder, "cqrs-app")) !== "received")
    return { isChanged: false, detail: "no secret id was delivered here" };
  await deliverSecretId(openClient(stack), folder, "cqrs-app");
  return { isChanged: true, detail: "delivered a new secret id for cqrs-app" };
}

/** Uses root only if the set-up has to change, and always revokes it. */
async function prepareLocal(stack: Stack, run: RunContext): Promise<string[]> {
  const vault = await ensureLocalVault(stack.stackDir, waitLimit(stack, run));
  const started = vault.isStarted ? [`started Vault (pid ${vault.pid})`] : [];
  if (vault.rootToken === undefined) {
    const changes = await tryAsScript(stack, run);
    if (changes !== undefined) return [...started, ...changes];
  }
  const changes = await asRoot(stack, vault, (client) => setUpAndDeliver({ stack, run, client }));
  // Last, so that a run that is killed before it revokes root does not look complete.
  await receiveOwnCredentials(stack, openClient(stack));
  return [...started, ...changes];
}

/** Runs work that changes Vault's set-up, with a temporary root token if it is local, else the configured login. */
export async function asVaultAdministrator<Result>(
  stack: Stack,
  run: RunContext,
  work: (client: VaultClient) => Promise<Result>,
): Promise<Result> {
  if (stack.secretsPlace !== "local-vault") return work(openClient(stack));
  return asRoot(stack, await ensureLocalVault(stack.stackDir, waitLimit(stack, run)), work);
}

async function asRoot<Result>(
  stack: Stack,
  { address, rootToken, unsealKey }: RunningVault,
  work: (client: VaultClient) => Promise<Result>,
): Promise<Result> {
  const options = { address, limits: vaultLimits(stack.config), isLocal: true };
  const token = rootToken ?? (await generateRoot(new VaultClient({ ...options, login: tokenLogin("") }), unsealKey));
  const client = new VaultClient({ ...options, login: tokenLogin(token, "the root token") });
  try {
    await revokeStrayRoots(client);
    return await work(client);
  } finally {
    await revokeRoot(client, token);
  }
}

/** @returns undefined if the stack's own AppRole is missing, refused, or lacks a capability */
async function tryAsScript(stack: Stack, run: RunContext): Promise<string[] | undefined> {
  const folder = localVaultFiles(stack.stackDir).credentials;
  if ((await credentialState(folder, "cqrs-init")) !== "received") return undefined;
  try {
    return await setUpAndDeliver({ stack, run, client: openClient(stack) });
  } catch (error) {
    if (error instanceof ScriptError && error.exitCode === exitCodes.authentication) return undefined;
    throw error;
  }
}

/** If an administrator has already set up everything, a token that can only read and write our secrets is enough. */
async function prepareExisting(stack: Stack, run: RunContext): Promise<string[]> {
  const client = openClient(stack);
  if (!(await canReadSetup(client))) return [];
  const deliverInit = stack.config.vault?.roleId === undefined;
  const changes = await setUpAndDeliver({ stack, run, client }, deliverInit);
  if (deliverInit) await receiveOwnCredentials(stack, client);
  return changes;
}

/** Unwraps the scripts' delivery at once; the application unwraps its own. */
async function receiveOwnCredentials(stack: Stack, client: VaultClient): Promise<void> {
  const folder = localVaultFiles(stack.stackDir).credentials;
  await receiveCredentials((request, options) => client.send(request, options), folder, "cqrs-init");
}

/** Vault, with the login that sets it up. */
interface SetupContext {
  readonly stack: Stack;
  readonly run: RunContext;
  readonly client: VaultClient;
}

/** @param deliverInit false if scripts have a configured AppRole and need none of their own */
async function setUpAndDeliver(context: SetupContext, deliverInit = true): Promise<string[]> {
  const { stack, client } = context;
  const changes = [...(await setUpVault(client))];
  const folder = localVaultFiles(stack.stackDir).credentials;
  for (const role of Object.keys(appRoles) as AppRoleName[]) {
    if (role === "cqrs-init" && !deliverInit) continue;
    await revokeLostDelivery(client, folder, role);
    const revoked = await revokeLostTokens(context, folder, role);
    if (revoked !== undefined) changes.push(revoked);
    if (await ensureDelivered(client, folder, role)) changes.push(`delivered the secret id of ${role}`);
  }
  return changes;
}

/**
 * For a local Vault, the error of a login that may not revoke tokens makes the caller try again as root.
 *
 * @returns what was revoked, if anything
 */
async function revokeLostTokens(context: SetupContext, folder: string, role: AppRoleName) {
  const { stack, run } = context;
  const secretIdFile = stack.config.vault?.secretIdFile;
  if (isInImage() && secretIdFile !== undefined) await forgetLossBefore(folder, role, secretIdFile);
  const loss = await readLoss(folder, role);
  if (loss === undefined) return undefined;
  try {
    return await (role === "cqrs-init" ? revokeBoth(context, folder) : revokeOfApplication(context, folder, loss));
  } catch (error) {
    const isForbidden = error instanceof ScriptError && error.exitCode === exitCodes.authentication;
    if (!isForbidden || stack.secretsPlace === "local-vault") throw error;
    run.reporter.warn(adviseRevocation(role, loss));
    return undefined;
  }
}

async function revokeOfApplication({ run, client }: SetupContext, folder: string, loss: DeliveryLoss) {
  const count = await revokeStrayTokens(client, "cqrs-app");
  await forgetLoss(folder, "cqrs-app");
  // An application that was not started in time is the usual reason, so that is not worth a warning without a token.
  if (loss === "taken" || count > 0) run.reporter.warn(adviseRotation("cqrs-app"));
  return count > 0 ? `revoked ${count} tokens of cqrs-app` : undefined;
}

/** The AppRole of the scripts may create secret ids of both roles. */
async function revokeBoth({ run, client }: SetupContext, folder: string) {
  let count = 0;
  for (const role of ["cqrs-init", "cqrs-app"] as const) {
    count += await revokeAll(client, role);
    await discardCredentials(folder, role);
  }
  for (const role of ["cqrs-init", "cqrs-app"] as const) await forgetLoss(folder, role);
  run.reporter.warn(adviseRotation("cqrs-init"));
  run.reporter.warn(
    `they could create secret ids, so all of both roles were destroyed: run ${runLine("secrets init")} wherever else applications use this Vault`,
  );
  run.reporter.warn(
    "they could read the key of encrypted archives: keep archives that were encrypted with it where nobody else can read them",
  );
  return `revoked ${count} secret ids and tokens of cqrs-init and cqrs-app`;
}

function adviseRotation(role: AppRoleName): string {
  const rotate = `${runLine("secrets rotate")} --grace 0s --yes`;
  return `someone else received the secret id of ${role} and could read the password: run ${rotate}`;
}

function adviseRevocation(role: AppRoleName, loss: DeliveryLoss): string {
  const revoke = isInImage()
    ? "restart Vault (docker compose restart vault)"
    : `run ${runLine("secrets init")} with VAULT_TOKEN set to an administrator's token`;
  const what =
    loss === "taken"
      ? `someone else received the secret id of ${role}`
      : `the secret id of ${role} was not received in time, or by someone else`;
  return `${what}, and this login may not revoke their tokens, which are valid for up to 24 hours: ${revoke}, then run ${runLine("secrets rotate")} --grace 0s --yes`;
}

function openClient(stack: Stack): VaultClient {
  if (stack.secretsPlace === "file") throw new Error("secrets in files have no Vault");
  return openVaultClient(stack.secretsPlace, stack.config, stack.remembered, "script");
}
