import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { assetsDir } from "../paths.ts";
import { openConnection } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { ensureIssuer, issuer, sweepLogins } from "../postgres/logins/issuer.ts";
import { readAdministrator } from "../postgres/logins/roles.ts";
import { scramVerifier } from "../postgres/logins/scram.ts";
import { requireKey, secretPaths } from "../secrets/application-secret.ts";
import { generatePassword } from "../secrets/password.ts";
import type { VaultClient } from "../secrets/vault/client.ts";
import { configureDatabaseEngine, databaseEngine } from "../secrets/vault/database-engine.ts";
import { type AdministratorSession, keepOutOfLog } from "./login-pair.ts";
import { administratorTarget, type RunContext, type Stack, secretMissing } from "./stack.ts";
import { asVaultAdministrator } from "./vault-setup.ts";

/** How logins are issued. */
export interface DynamicLogins {
  /** Reading this path of Vault makes a login. */
  readonly path: string;
  /** The policy that lets an application do so. */
  readonly policy: string;
}

const folder = join(assetsDir, "infrastructure/vault/dynamic");
const policy = "cqrs-dynamic";

/** Does {@link configureDynamicLogins} as whoever may change how the Vault of the stack is set up. */
export async function enableDynamicLogins(stack: Stack, run: RunContext): Promise<DynamicLogins> {
  if (stack.secretsPlace === "file") throw notVault();
  return asVaultAdministrator(stack, run, (client) => configureDynamicLogins(stack, client, run));
}

/**
 * Lets Vault's database engine issue logins of the application: each is good for an hour, works as `cqrs_app`, and is
 * dropped with its sessions when it ends. May be run again: the engine's own login gets another password each time.
 *
 * @param client whose token may mount engines and write policies
 */
export async function configureDynamicLogins(
  stack: Stack,
  client: VaultClient,
  run: RunContext,
): Promise<DynamicLogins> {
  const secret = await stack.secrets.read(secretPaths.application);
  if (secret === undefined) throw secretMissing(secretPaths.application);
  const [host, port, database] = ["host", "port", "database"].map((key) =>
    requireKey(secret.data, key, secretPaths.application),
  ) as [string, string, string];
  const password = generatePassword();
  await asAdministrator(stack, run, async ({ sql, administrator }) => {
    await ensureIssuer(sql, administrator, await scramVerifier(password));
  });
  await configureDatabaseEngine(client, {
    server: { host, port: Number(port), database },
    issuer: { username: issuer, password },
    creation: await readFile(join(folder, "create.sql"), "utf8"),
    revocation: await readRevocation(),
  });
  const text = await readFile(join(folder, `${policy}.hcl`), "utf8");
  await client.request({ method: "PUT", path: `sys/policies/acl/${policy}`, body: { policy: text } });
  return { path: databaseEngine.credentials, policy };
}

/**
 * Drops the logins that have ended and that Vault did not take back.
 *
 * @returns their names
 */
export async function sweepDynamicLogins(stack: Stack, run: RunContext): Promise<string[]> {
  const revocation = await readRevocation();
  return asAdministrator(stack, run, ({ sql }) => sweepLogins(sql, revocation));
}

async function asAdministrator<Result>(
  stack: Stack,
  run: RunContext,
  work: (session: AdministratorSession) => Promise<Result>,
): Promise<Result> {
  const target = await administratorTarget(stack);
  await using connection = openConnection(target, { applicationName: "cqrs-postgres secrets", signal: run.signal });
  try {
    const session = { sql: connection.sql, administrator: await readAdministrator(connection.sql) };
    await keepOutOfLog(session);
    return await work(session);
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

function readRevocation(): Promise<string> {
  return readFile(join(folder, "revoke.sql"), "utf8");
}

function notVault(): ScriptError {
  return new ScriptError({
    code: "NOT_VAULT",
    exitCode: exitCodes.usage,
    message: "There is no Vault that could issue logins",
    why: "The secrets of this stack are in files.",
    fix: "Move them to Vault first: bun run secrets migrate, with VAULT_ADDR and VAULT_TOKEN",
  });
}
