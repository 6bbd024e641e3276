import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCodes, ScriptError } from "../../cli/script-error.ts";
import { assetsDir } from "../../paths.ts";
import { secretPaths } from "../application-secret.ts";
import { splitSecretPath } from "../store.ts";
import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";

/** One of our AppRoles; its policy has the same name. */
export type AppRoleName = keyof typeof appRoles;

const policyDir = join(assetsDir, "infrastructure/vault/policies");
const mount = splitSecretPath(secretPaths.application)[0] as string;
const secretIdTtlSeconds = 30 * 24 * 3600;

/**
 * Our AppRoles. A secret id can be used any number of times until it expires, because an application logs in again
 * when its token expires and when it restarts. Only the delivery is single-use.
 */
export const appRoles = {
  "cqrs-init": roleSettings("cqrs-init", { ttlSeconds: 20 * 60, maxTtlSeconds: 3600 }),
  "cqrs-app": roleSettings("cqrs-app", { ttlSeconds: 3600, maxTtlSeconds: 24 * 3600 }),
} as const;

/**
 * Sets up the KV engine, the AppRole login method, our policies and our AppRoles. Idempotent: it changes only what
 * differs, so if nothing does, it needs no administrator's token.
 *
 * @returns the changes, one phrase each
 * @throws {ScriptError} `VAULT_FORBIDDEN` (exit 6) if the login lacks permission for a necessary change
 */
export async function setUpVault(client: VaultClient): Promise<readonly string[]> {
  const changes = [await ensureEngine(client), await ensureLoginMethod(client)];
  for (const name of await policyNames()) changes.push(await ensurePolicy(client, name));
  for (const name of Object.keys(appRoles)) changes.push(await ensureRole(client, name as AppRoleName));
  return changes.filter((change) => change !== undefined);
}

/** Whether the login is allowed to read the set-up. A token for our secrets alone is not. */
export async function canReadSetup(client: VaultClient): Promise<boolean> {
  try {
    await client.request({ method: "GET", path: `sys/mounts/${mount}` }, { expected: [400, 403] });
    return true;
  } catch (error) {
    if (error instanceof VaultFailure) return error.status === 400;
    throw error;
  }
}

async function ensureEngine(client: VaultClient): Promise<string | undefined> {
  const path = `sys/mounts/${mount}`;
  const isCreated = await createIfMissing(client, path, { type: "kv", options: { version: "2" } });
  const { data } = await client.request({ method: "GET", path });
  if (data?.type === "kv" && data.options?.version === "2") return isCreated ? `mounted ${mount}/` : undefined;
  throw new ScriptError({
    code: "VAULT_ENGINE",
    exitCode: exitCodes.refused,
    message: `Vault's mount ${mount}/ is not a KV engine, version 2`,
    why: `It is ${data?.type}, version ${data?.options?.version ?? "1"}, and may contain other secrets.`,
    fix: `Upgrade it (vault kv enable-versioning ${mount}), or use another Vault.`,
  });
}

async function ensureLoginMethod(client: VaultClient): Promise<string | undefined> {
  return (await createIfMissing(client, "sys/auth/approle", { type: "approle" })) ? "enabled approle" : undefined;
}

/** @returns whether this call created it; of several concurrent callers, only one does */
async function createIfMissing(client: VaultClient, path: string, body: unknown): Promise<boolean> {
  if ((await readIfPresent(client, path, 400)) !== undefined) return false;
  try {
    await client.request({ method: "POST", path, body }, { expected: [400] });
    return true;
  } catch (error) {
    if (error instanceof VaultFailure && /already in use/.test(error.text)) return false;
    throw error;
  }
}

async function policyNames(): Promise<string[]> {
  const names = await readdir(policyDir);
  return names.filter((name) => name.endsWith(".hcl")).map((name) => name.slice(0, -".hcl".length));
}

async function ensurePolicy(client: VaultClient, name: string): Promise<string | undefined> {
  const policy = (await readFile(join(policyDir, `${name}.hcl`), "utf8")).replaceAll("\r\n", "\n");
  const path = `sys/policies/acl/${name}`;
  if ((await readIfPresent(client, path, 404))?.["policy"] === policy) return undefined;
  await client.request({ method: "PUT", path, body: { policy } });
  return `wrote the policy ${name}`;
}

async function ensureRole(client: VaultClient, name: AppRoleName): Promise<string | undefined> {
  const path = `auth/approle/role/${name}`;
  const current = await readIfPresent(client, path, 404);
  const isSame = Object.entries(appRoles[name]).every(
    ([key, value]) => JSON.stringify(current?.[key]) === JSON.stringify(value),
  );
  if (isSame) return undefined;
  await client.request({ method: "POST", path, body: appRoles[name] });
  return `wrote the AppRole ${name}`;
}

async function readIfPresent(
  client: VaultClient,
  path: string,
  missingStatus: number,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    return (await client.request({ method: "GET", path }, { expected: [missingStatus] })).data;
  } catch (error) {
    if (error instanceof VaultFailure) return undefined;
    throw error;
  }
}

function roleSettings(policy: string, { ttlSeconds, maxTtlSeconds }: { ttlSeconds: number; maxTtlSeconds: number }) {
  return {
    bind_secret_id: true,
    secret_id_num_uses: 0,
    secret_id_ttl: secretIdTtlSeconds,
    token_policies: [policy],
    token_no_default_policy: true,
    token_ttl: ttlSeconds,
    token_max_ttl: maxTtlSeconds,
  } as const;
}
