import type { StepResult } from "../cli/reporter.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { tokenLogin } from "../secrets/vault/authentication.ts";
import { VaultClient } from "../secrets/vault/client.ts";
import { credentialState, deliver, ensureDelivered, receive } from "../secrets/vault/delivery.ts";
import { generateRoot, revokeRoot, revokeStrayRoots } from "../secrets/vault/root.ts";
import { appRoles, maySeeSetup, setUpVault } from "../secrets/vault/setup.ts";
import { ensureLocalVault, localVaultFiles, type RunningVault } from "./local-vault.ts";
import { openVaultClient, vaultLimits } from "./secret-store.ts";
import type { RunContext, Stack } from "./stack.ts";

/**
 * Has the Vault of a stack as it should be: the local one running and unsealed; engine, policies and AppRoles set up;
 * credentials of the AppRoles delivered. A stack with
 * secrets in files has nothing to prepare.
 *
 * @throws {ScriptError} naming what is in the way and how to mend it
 */
export async function prepareVault(stack: Stack, run: RunContext): Promise<StepResult> {
  const changes = stack.secretsPlace === "local-vault" ? await prepareLocal(stack, run) : await prepareOther(stack);
  return { isChanged: changes.length > 0, detail: changes.join(", ") || "as it should be" };
}

/**
 * Delivers a new secret id to the application in the place of the one it has received, which stays good until its own
 * end: whoever runs with it is not cut off. Where none was received, there is nothing to renew.
 */
export async function renewApplicationLogin(stack: Stack): Promise<StepResult> {
  const folder = localVaultFiles(stack.stackDir).credentials;
  const hasReceived = stack.secretsPlace !== "file" && (await credentialState(folder, "cqrs-app")) === "received";
  if (!hasReceived) return { isChanged: false, detail: "no secret id was received here" };
  await deliver(openClient(stack), folder, "cqrs-app");
  return { isChanged: true, detail: "delivered a new secret id of cqrs-app" };
}

/** Root only for the moments in which the set-up has to be changed; ended again whatever happens meanwhile. */
async function prepareLocal(stack: Stack, run: RunContext): Promise<string[]> {
  const wait = { timeoutMs: stack.config.timeoutMs, signal: run.signal };
  const vault = await ensureLocalVault(stack.stackDir, wait);
  const started = vault.isStarted ? [`started Vault (pid ${vault.pid})`] : [];
  if (vault.rootToken === undefined) {
    const changes = await tryAsScript(stack);
    if (changes !== undefined) return [...started, ...changes];
  }
  const changes = await asRoot(stack, vault, (client) => setUpAndDeliver(stack, client, true));
  // Only now, so that a run that was killed before root was given back is not taken for a complete one.
  await receiveOwn(stack, openClient(stack));
  return [...started, ...changes];
}

/**
 * Works as somebody who may change how Vault is set up: root for the moment in a stack's own one, else whoever the
 * configuration names.
 */
export async function asVaultAdministrator<Result>(
  stack: Stack,
  run: RunContext,
  work: (client: VaultClient) => Promise<Result>,
): Promise<Result> {
  if (stack.secretsPlace !== "local-vault") return work(openClient(stack));
  const wait = { timeoutMs: stack.config.timeoutMs, signal: run.signal };
  return asRoot(stack, await ensureLocalVault(stack.stackDir, wait), work);
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

/** @returns undefined when the AppRole of the stack is missing, refused, or may not do what is needed */
async function tryAsScript(stack: Stack): Promise<string[] | undefined> {
  const folder = localVaultFiles(stack.stackDir).credentials;
  if ((await credentialState(folder, "cqrs-init")) !== "received") return undefined;
  try {
    return await setUpAndDeliver(stack, openClient(stack), true);
  } catch (error) {
    if (error instanceof ScriptError && error.exitCode === exitCodes.authentication) return undefined;
    throw error;
  }
}

/** A token that only reads or writes our secrets is enough, where an administrator has set all up before. */
async function prepareOther(stack: Stack): Promise<string[]> {
  const client = openClient(stack);
  if (!(await maySeeSetup(client))) return [];
  const isOwnRoleWanted = stack.config.vault?.roleId === undefined;
  const changes = await setUpAndDeliver(stack, client, isOwnRoleWanted);
  if (isOwnRoleWanted) await receiveOwn(stack, client);
  return changes;
}

/** The scripts' own delivery is taken at once; the application takes its own. */
async function receiveOwn(stack: Stack, client: VaultClient): Promise<void> {
  const folder = localVaultFiles(stack.stackDir).credentials;
  await receive((request, options) => client.send(request, options), folder, "cqrs-init");
}

/** @param isOwnRoleWanted whether scripts need an AppRole of their own: not where one was given to them */
async function setUpAndDeliver(stack: Stack, client: VaultClient, isOwnRoleWanted: boolean): Promise<string[]> {
  const changes = [...(await setUpVault(client))];
  const folder = localVaultFiles(stack.stackDir).credentials;
  for (const role of Object.keys(appRoles) as (keyof typeof appRoles)[]) {
    if (role === "cqrs-init" && !isOwnRoleWanted) continue;
    if (await ensureDelivered(client, folder, role)) changes.push(`delivered the secret id of ${role}`);
  }
  return changes;
}

function openClient(stack: Stack): VaultClient {
  if (stack.secretsPlace === "file") throw new Error("secrets in files have no Vault");
  return openVaultClient(stack.secretsPlace, stack.config, stack.remembered, "script");
}
