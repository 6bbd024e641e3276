import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import { secretPaths } from "../../secrets/application-secret.ts";
import type { VaultClient } from "../../secrets/vault/client.ts";
import { credentialState, isDeliveryTaken } from "../../secrets/vault/delivery.ts";
import { type AppRoleName, appRoles } from "../../secrets/vault/setup.ts";
import { VaultSecretStore } from "../../secrets/vault/store.ts";
import { localVaultFiles } from "../../stack/local-vault.ts";
import { findOtherVault, type OtherVault, openVaultClient } from "../../stack/secret-store.ts";
import type { Stack } from "../../stack/stack.ts";
import { bootstrapRepair, type DoctorContext, type Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Whether Vault answers, and accepts the login of the stack. */
export const vaultProbe: Probe = { area: "vault", find: findVaultProblems };

/** How long Vault may take to answer. */
const patienceMs = 3_000;
/** Tokens and deliveries are valid for minutes at least. */
const maxSkewSeconds = 60;
const administratorToken = "with VAULT_TOKEN set to an administrator's token";

async function findVaultProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const stack = await context.stack();
  const { config, secretsPlace: place, remembered } = stack;
  if (place === "file") return [];
  if (place === "vault" && config.vault === undefined) return [addressMissing(stack)];
  const patient = { ...config, timeoutMs: Math.min(config.timeoutMs, patienceMs) };
  const client = openVaultClient(place, patient, remembered, "script");
  const unusable = await findUnusable(context, stack, client);
  if (unusable.length > 0) return unusable;
  // Nothing says yet which Vault may get credentials.
  if (remembered === undefined) return [];
  const other = findOtherVault(stack);
  if (other !== undefined) return [otherAddress(other)];
  const skew = await findSkew(client);
  const taken = await findTakenDeliveries(stack, client);
  return [...skew, ...taken, ...(taken.length > 0 ? [] : await findRefusal(stack, client))];
}

/** Credentials of the stack are sent nowhere else. */
function otherAddress({ given, known }: OtherVault): Finding {
  const correction = known === undefined ? "Unset VAULT_ADDR" : `Set VAULT_ADDR=${known}`;
  return {
    id: "vault-address-differs",
    symptom: "secrets",
    cause: "VAULT_ADDR names another Vault than the one that was set up, so no credentials were sent to it.",
    evidence: `VAULT_ADDR is ${given}; the last bootstrap used ${known ?? "no Vault"}.`,
    fix:
      `${correction} in the environment or in .env. If the secrets belong in ${given}, run ` +
      `${runLine("bootstrap")}, which remembers this address.`,
  };
}

function addressMissing({ remembered }: Stack): Finding {
  return {
    id: "vault-address-missing",
    symptom: "secrets",
    cause: "The stack keeps its secrets in Vault, but VAULT_ADDR is not set.",
    evidence: `The last bootstrap used ${remembered?.vaultAddress}.`,
    fix: `Set VAULT_ADDR=${remembered?.vaultAddress} in the environment or in .env.`,
  };
}

async function findUnusable(context: DoctorContext, stack: Stack, client: VaultClient): Promise<Finding[]> {
  try {
    const { initialized, sealed } = await client.anonymously({ method: "GET", path: "sys/seal-status" });
    if (initialized === true && sealed === false) return [];
    const finding = initialized === true ? sealedVault(client.address) : uninitialisedVault(client.address);
    return [withBootstrap(context, stack, finding)];
  } catch (error) {
    if (!(error instanceof ScriptError) || !["VAULT_UNREACHABLE", "VAULT_TIMEOUT"].includes(error.code)) throw error;
    return [withBootstrap(context, stack, unreachable(error))];
  }
}

/** Bootstrap starts, initialises and unseals a local Vault. */
function withBootstrap(context: DoctorContext, { secretsPlace }: Stack, finding: Finding): Finding {
  if (secretsPlace !== "local-vault") return finding;
  const fix = `Run ${runLine("bootstrap")}, which starts and unseals the local Vault.`;
  return { ...finding, fix, repair: bootstrapRepair(context) };
}

function unreachable({ message, why = message, fix = "" }: ScriptError): Finding {
  return { id: "vault-unreachable", symptom: "secrets", cause: `${message}.`, evidence: why, fix };
}

function sealedVault(address: string): Finding {
  return {
    id: "vault-sealed",
    symptom: "secrets",
    cause: "Vault is sealed, so nobody can read secrets.",
    evidence: `${address}/v1/sys/seal-status says that it is sealed.`,
    fix: "Run vault operator unseal. For the containers, run docker compose restart vault, which unseals it.",
  };
}

function uninitialisedVault(address: string): Finding {
  return {
    id: "vault-uninitialised",
    symptom: "secrets",
    cause: "Vault was never initialised, or its storage is empty.",
    evidence: `${address}/v1/sys/seal-status says that it is not initialised.`,
    fix:
      "Run vault operator init and vault operator unseal. " +
      `Then run ${runLine("bootstrap")} ${administratorToken}, which sets it up.`,
  };
}

async function findSkew(client: VaultClient): Promise<Finding[]> {
  const { server_time_utc: seconds } = await client.anonymously({
    method: "GET",
    path: "sys/health",
    acceptsStandby: true,
  });
  const aheadSeconds = Math.round(Number(seconds) - Date.now() / 1000);
  if (!(Math.abs(aheadSeconds) > maxSkewSeconds)) return [];
  const direction = aheadSeconds > 0 ? "ahead of" : "behind";
  return [
    {
      id: "vault-clock-skew",
      symptom: "secrets",
      cause:
        "The clocks of Vault and of this machine differ, so credentials seem valid that have expired, or the reverse.",
      evidence: `Vault's clock is ${Math.abs(aheadSeconds)} s ${direction} ours.`,
      fix: "Synchronise the clock that is wrong: timedatectl set-ntp true.",
    },
  ];
}

async function findTakenDeliveries({ mode, stackDir }: Stack, client: VaultClient): Promise<Finding[]> {
  // Those of the containers are in a volume.
  if (mode === "compose") return [];
  const { credentials } = localVaultFiles(stackDir);
  const found = Object.keys(appRoles).map(async (role) =>
    (await isDeliveryTaken(client, credentials, role as AppRoleName)) ? [deliveryTaken(role, credentials)] : [],
  );
  return (await Promise.all(found)).flat();
}

function deliveryTaken(role: string, folder: string): Finding {
  return {
    id: "vault-delivery-taken",
    symptom: "secrets",
    cause: `The delivered secret id of the AppRole ${role} was taken by someone else, or has expired after 24 hours.`,
    evidence: `Vault no longer knows the wrapping token in ${folder}/${role}.wrapped.`,
    fix: `Run ${runLine("secrets init")}, ${administratorToken} unless it is the local Vault: it revokes that secret id.`,
  };
}

/** What Vault refuses, by the code of the error. */
const refusals: Readonly<Record<string, Pick<Finding, "id">>> = {
  VAULT_TOKEN_REFUSED: { id: "vault-token-expired" },
  VAULT_LOGIN_REFUSED: { id: "vault-login-refused" },
  VAULT_NO_LOGIN: { id: "vault-login-missing" },
};

async function findRefusal(stack: Stack, client: VaultClient): Promise<Finding[]> {
  if (await wouldUnwrap(stack)) return [];
  try {
    const secret = await new VaultSecretStore(client).read(secretPaths.application);
    return secret === undefined ? [secretMissing(client.address)] : [];
  } catch (error) {
    const refusal = error instanceof ScriptError ? refusals[error.code] : undefined;
    if (refusal === undefined) throw error;
    const { message, why = message, fix = "" } = error as ScriptError;
    return [{ ...refusal, symptom: "secrets", cause: `${message}.`, evidence: why, fix }];
  }
}

function secretMissing(address: string): Finding {
  return {
    id: "vault-secret-missing",
    symptom: "secrets",
    cause: "Vault does not have the application's credentials: it was emptied, or it is another Vault.",
    evidence: `${address} accepts the login, but has no ${secretPaths.application}.`,
    fix: `Run ${runLine("bootstrap")}, ${administratorToken} unless it is the local Vault: it creates new credentials.`,
  };
}

/** Logging in with a delivered secret id unwraps it, which can be done only once. */
async function wouldUnwrap({ config, stackDir }: Stack): Promise<boolean> {
  if (config.vault?.token !== undefined || config.vault?.roleId !== undefined) return false;
  return (await credentialState(localVaultFiles(stackDir).credentials, "cqrs-init")) === "delivered";
}
