import { existsSync } from "node:fs";
import { join } from "node:path";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Config, VaultSettings } from "../config.ts";
import { FileSecretStore } from "../secrets/file-store.ts";
import type { SecretStore } from "../secrets/store.ts";
import { appRoleLogin, noLogin, tokenFileLogin, tokenLogin, type VaultLogin } from "../secrets/vault/authentication.ts";
import { VaultClient } from "../secrets/vault/client.ts";
import { readSecretFile, receiveCredentials } from "../secrets/vault/delivery.ts";
import type { RetryLimits } from "../secrets/vault/retry.ts";
import type { AppRoleName } from "../secrets/vault/setup.ts";
import { VaultSecretStore } from "../secrets/vault/store.ts";
import { findLocalVault, localVaultAddress, localVaultFiles } from "./local-vault.ts";
import type { StackState } from "./state.ts";

/** Where a stack keeps the application's credentials: in files, in an existing Vault, or in its own local Vault. */
export type SecretsPlace = "file" | "vault" | "local-vault";

/** Who reads the secrets. In Vault, scripts log in as `cqrs-init` and applications as `cqrs-app`. */
export type SecretsUser = "script" | "application";

const unreachableMs = 5000;
const sealedMs = 5000;

/** Determines where a stack keeps its secrets, from the flag or CQRS_SECRETS, or else VAULT_ADDR, or else its state. */
export function secretsPlace(config: Config, remembered: StackState | undefined): SecretsPlace {
  if (config.secrets === "file") return "file";
  if (config.vault !== undefined)
    return config.vault.address === localVaultAddress(config.stackDir) ? "local-vault" : "vault";
  if (config.secrets === "vault") return remembered?.secrets ?? "local-vault";
  if (remembered !== undefined) return remembered.secrets ?? "file";
  // The local Vault survives destroy, which removes the state.
  return localVaultAddress(config.stackDir) === undefined ? "file" : "local-vault";
}

/** Opens the file store. It always has the superuser's password, so that losing Vault does not lock anyone out. */
export function openFileStore(config: Config): FileSecretStore {
  return new FileSecretStore(join(config.stackDir, "secrets"));
}

/** Opens the secret store of a place. Connects to Vault only when the store is used. */
export function openSecretStore(
  place: SecretsPlace,
  config: Config,
  remembered: StackState | undefined,
  user: SecretsUser,
): SecretStore {
  if (place === "file") return openFileStore(config);
  return new VaultSecretStore(openVaultClient(place, config, remembered, user));
}

/** Opens a client of a place's Vault, with the login that the configuration or the stack's folder provides. */
export function openVaultClient(
  place: "vault" | "local-vault",
  config: Config,
  remembered: StackState | undefined,
  user: SecretsUser,
): VaultClient {
  const limits = vaultLimits(config);
  if (place === "local-vault") return openLocalClient(config, limits, user);
  const settings = config.vault;
  const address = settings?.address ?? remembered?.vaultAddress ?? "http://127.0.0.1";
  if (settings === undefined) return new VaultClient({ address, login: missingAddress(address), limits });
  const { namespace, caCertFile } = settings;
  return new VaultClient({ address, namespace, caCertFile, login: chooseLogin(config, settings, user), limits });
}

function openLocalClient(config: Config, limits: RetryLimits, user: SecretsUser): VaultClient {
  const address = localVaultAddress(config.stackDir);
  if (address === undefined)
    return new VaultClient({ address: "http://127.0.0.1", limits, login: missingLocalVault() });
  // Only bootstrap starts a stopped local Vault, so there is no point in waiting for it.
  const isRunning = () => findLocalVault(config.stackDir) !== undefined;
  const unreachableMs = isRunning() ? limits.unreachableMs : 0;
  const login = chooseLogin(config, undefined, user);
  return new VaultClient({ address, limits: { ...limits, unreachableMs }, login, isLocal: true, isRunning });
}

/** A Vault that is not the one of the last bootstrap. */
export interface OtherVault {
  readonly given: string;
  /** Undefined if the last bootstrap used files. */
  readonly known: string | undefined;
}

/** @returns the Vault that the configuration names if it is not the one that the stack remembers */
export function findOtherVault(stack: {
  readonly mode: string;
  readonly config: Config;
  readonly secretsPlace: SecretsPlace;
  readonly remembered: StackState | undefined;
}): OtherVault | undefined {
  const { mode, config, secretsPlace: place, remembered } = stack;
  const given = config.vault?.address;
  // The address of the containers' Vault comes from their settings.
  if (mode === "compose" || place !== "vault" || given === undefined || remembered === undefined) return undefined;
  const known = remembered.vaultAddress || undefined;
  return known !== undefined && isSameAddress(given, known) ? undefined : { given, known };
}

/** Whether two addresses name the same Vault, however they are written. */
export function isSameAddress(one: string, other: string): boolean {
  return normalAddress(one) === normalAddress(other);
}

/** The scheme and host in lower case, without a default port and slashes at the end. */
function normalAddress(address: string): string {
  return URL.canParse(address) ? new URL(address).href.replace(/\/+$/, "") : address;
}

/** @returns the part of a stack's state that is about its secrets */
export function rememberedSecrets(stack: {
  readonly config: Config;
  readonly secretsPlace: SecretsPlace;
  readonly remembered: StackState | undefined;
}): Pick<StackState, "secrets" | "vaultAddress"> {
  const { config, secretsPlace: place, remembered } = stack;
  if (place === "file") return {};
  const address = place === "local-vault" ? localVaultAddress(config.stackDir) : config.vault?.address;
  return { secrets: place, vaultAddress: address ?? remembered?.vaultAddress ?? "" };
}

/** @returns how long to retry each kind of Vault failure */
export function vaultLimits({ timeoutMs }: Config): RetryLimits {
  return {
    timeoutMs,
    unreachableMs: Math.min(timeoutMs, unreachableMs),
    sealedMs: Math.min(timeoutMs, sealedMs),
  };
}

function chooseLogin(config: Config, settings: VaultSettings | undefined, user: SecretsUser): VaultLogin {
  if (settings?.tokenFile !== undefined) return tokenFileLogin(settings.tokenFile);
  if (settings?.token !== undefined) return tokenLogin(settings.token);
  if (settings?.roleId !== undefined) return settingsLogin(settings);
  const folder = localVaultFiles(config.stackDir).credentials;
  const roles: readonly AppRoleName[] = user === "script" ? ["cqrs-init", "cqrs-app"] : ["cqrs-app", "cqrs-init"];
  const role = roles.find((name) => existsSync(join(folder, `${name}.role-id`)));
  if (role === undefined) return noLogin(missingLoginFix(settings));
  return appRoleLogin(`the AppRole ${role}`, (send) => receiveCredentials(send, folder, role));
}

function missingLoginFix(settings: VaultSettings | undefined): string {
  if (settings === undefined) return `Run ${runLine("secrets init")}.`;
  return `Run ${runLine("secrets init")} once, with VAULT_TOKEN set to an administrator's token.`;
}

/** Reads the secret id again for each login: `secrets rotate` may have renewed the file. */
function settingsLogin({ roleId = "", secretId = "", secretIdFile }: VaultSettings): VaultLogin {
  return appRoleLogin("the AppRole of VAULT_ROLE_ID", async () => {
    const current = secretIdFile === undefined ? undefined : await readSecretFile(secretIdFile);
    return { roleId, secretId: current ?? secretId };
  });
}

/**
 * @param purpose what Vault is needed for: `issue logins`
 * @returns the error of a script that needs Vault if the stack keeps its secrets in files (exit 2)
 */
export function noVault(purpose: string, fix: string): ScriptError {
  return new ScriptError({
    code: "NOT_VAULT",
    exitCode: exitCodes.usage,
    message: `There is no Vault to ${purpose}`,
    why: "This stack keeps its secrets in files, and no Vault is configured.",
    fix,
  });
}

function missingAddress(address: string): VaultLogin {
  return failingLogin({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: "This stack keeps its secrets in Vault, but VAULT_ADDR is not set",
    why: `The last bootstrap used ${address}.`,
    fix: `Set VAULT_ADDR=${address} in the environment or in .env, or run ${runLine("bootstrap")} --secrets file.`,
  });
}

function missingLocalVault(): VaultLogin {
  return failingLogin({
    code: "VAULT_UNREACHABLE",
    exitCode: exitCodes.notReady,
    message: "This stack has no local Vault yet",
    why: "The first bootstrap with --secrets vault creates it.",
    fix: `Run ${runLine("bootstrap")} --secrets vault.`,
  });
}

function failingLogin(details: ConstructorParameters<typeof ScriptError>[0]): VaultLogin {
  return {
    description: "nobody",
    obtain: () => Promise.reject(new ScriptError(details)),
  };
}
