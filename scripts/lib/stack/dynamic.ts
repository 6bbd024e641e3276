import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runLine } from "../cli/run-line.ts";
import { assetsDir } from "../paths.ts";
import { ensureIssuer, issuer, sweepLogins } from "../postgres/logins/issuer.ts";
import { scramVerifier } from "../postgres/logins/scram.ts";
import { requireKey, secretPaths, tlsOfSecret } from "../secrets/application-secret.ts";
import { generatePassword } from "../secrets/password.ts";
import type { VaultClient } from "../secrets/vault/client.ts";
import { configureDatabaseEngine, databaseEngine } from "../secrets/vault/database-engine.ts";
import { withAdministrator } from "./administrator.ts";
import { noVault } from "./secret-store.ts";
import { type RunContext, requireSecret, type Stack } from "./stack.ts";
import { asVaultAdministrator } from "./vault-setup.ts";

/** How applications get an issued login. */
export interface DynamicLogins {
  /** Reading this path of Vault issues a login. */
  readonly path: string;
  /** The policy that allows an application to read it. */
  readonly policy: string;
}

const folder = join(assetsDir, "infrastructure/vault/dynamic");
const policy = "cqrs-dynamic";
const applicationName = "cqrs-postgres secrets";

/**
 * Configures Vault's database engine to issue logins for the application. Each login acts as `cqrs_app` and is valid
 * for an hour; when it expires, it is dropped and its sessions end. Idempotent, except that the engine's own login gets
 * a new password each time.
 */
export async function enableDynamicLogins(stack: Stack, run: RunContext): Promise<DynamicLogins> {
  if (stack.secretsPlace === "file") {
    const fix = `First run ${runLine("secrets migrate")} with VAULT_ADDR and VAULT_TOKEN set, which moves the secrets to Vault.`;
    throw noVault("issue logins", fix);
  }
  return asVaultAdministrator(stack, run, (client) => configureDynamicLogins(stack, run, client));
}

/** @param client must be allowed to mount engines and write policies */
async function configureDynamicLogins(stack: Stack, run: RunContext, client: VaultClient): Promise<DynamicLogins> {
  const { data } = await requireSecret(stack.secrets, secretPaths.application);
  const [host, port, database] = ["host", "port", "database"].map((key) =>
    requireKey(data, key, secretPaths.application),
  ) as [string, string, string];
  const password = generatePassword();
  await withAdministrator(stack, run, applicationName, async ({ sql, administrator }) => {
    await ensureIssuer(sql, administrator, await scramVerifier(password));
  });
  await configureDatabaseEngine(client, {
    server: { host, port: Number(port), database, ...tlsOfSecret(data, secretPaths.application) },
    issuer: { username: issuer, password },
    creation: await readFile(join(folder, "create.sql"), "utf8"),
    revocation: await readRevocation(),
  });
  const text = await readFile(join(folder, `${policy}.hcl`), "utf8");
  await client.request({ method: "PUT", path: `sys/policies/acl/${policy}`, body: { policy: text } });
  return { path: databaseEngine.credentials, policy };
}

/**
 * Drops issued logins that have expired and that Vault did not revoke.
 *
 * @returns their names
 */
export async function sweepDynamicLogins(stack: Stack, run: RunContext): Promise<string[]> {
  const revocation = await readRevocation();
  return withAdministrator(stack, run, applicationName, ({ sql }) => sweepLogins(sql, revocation));
}

function readRevocation(): Promise<string> {
  return readFile(join(folder, "revoke.sql"), "utf8");
}
