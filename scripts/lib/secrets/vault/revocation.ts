import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";
import type { AppRoleName } from "./setup.ts";

/** Destroys the secret id of a delivery, so that nobody can log in with it any more. */
export async function revokeSecretId(client: VaultClient, role: AppRoleName, delivery: string): Promise<void> {
  for (const { accessor, delivery: found } of await listSecretIds(client, role)) {
    if (found === delivery) await destroySecretId(client, role, accessor);
  }
}

/**
 * Destroys all secret ids of an AppRole, then revokes all its tokens, until none are left: a thief could create secret
 * ids meanwhile. Those of a thief cannot be told from others, since their creator chooses the metadata.
 *
 * @returns how many secret ids and tokens there were
 * @throws {ScriptError} `VAULT_FORBIDDEN` (exit 6) unless the login is an administrator's
 */
export async function revokeAll(client: VaultClient, role: AppRoleName): Promise<number> {
  const secretIds = await listSecretIds(client, role);
  for (const { accessor } of secretIds) await destroySecretId(client, role, accessor);
  const tokens = await revokeTokens(client, (meta) => meta["role_name"] === role);
  const count = secretIds.length + tokens;
  return count === 0 ? 0 : count + (await revokeAll(client, role));
}

/**
 * Revokes the tokens that were issued for secret ids which have been destroyed or have expired. Without this, such a
 * token could be used, and renewed, until its maximum age. Tokens of secret ids that we did not deliver are left alone.
 *
 * @returns how many it revoked
 * @throws {ScriptError} `VAULT_FORBIDDEN` (exit 6) unless the login is an administrator's
 */
export async function revokeStrayTokens(client: VaultClient, role: AppRoleName): Promise<number> {
  const valid = new Set((await listSecretIds(client, role)).map(({ delivery }) => delivery));
  return revokeTokens(client, ({ role_name, delivery }) => {
    return role_name === role && delivery !== undefined && !valid.has(delivery);
  });
}

type TokenMetadata = Readonly<Record<string, string>>;

async function revokeTokens(client: VaultClient, isRevoked: (meta: TokenMetadata) => boolean): Promise<number> {
  const { data } = await client.request({ method: "GET", path: "auth/token/accessors", isList: true });
  let count = 0;
  for (const accessor of data.keys as string[]) {
    const meta = await readTokenMetadata(client, accessor);
    if (meta === undefined || !isRevoked(meta)) continue;
    await client.request({ method: "POST", path: "auth/token/revoke-accessor", body: { accessor } });
    count++;
  }
  return count;
}

/** Vault copies the metadata of a secret id to the tokens that it issues for it. */
async function readTokenMetadata(client: VaultClient, accessor: string): Promise<TokenMetadata | undefined> {
  const request = { method: "POST", path: "auth/token/lookup-accessor", body: { accessor } } as const;
  // The token may have expired in the meantime.
  const found = await client.request(request, { expected: [403, 404] }).catch(ignoreFailure);
  return found?.data?.meta ?? undefined;
}

async function destroySecretId(client: VaultClient, role: AppRoleName, accessor: string): Promise<void> {
  const path = `auth/approle/role/${role}/secret-id-accessor/destroy`;
  const request = { method: "POST", path, body: { secret_id_accessor: accessor } } as const;
  // It may have expired in the meantime.
  await client.request(request, { expected: [404] }).catch(ignoreFailure);
}

interface IssuedSecretId {
  readonly accessor: string;
  readonly delivery: string | undefined;
}

async function listSecretIds(client: VaultClient, role: AppRoleName): Promise<readonly IssuedSecretId[]> {
  const path = `auth/approle/role/${role}`;
  const request = { method: "GET", path: `${path}/secret-id`, isList: true } as const;
  const listed = await client.request(request, { expected: [404] }).catch(ignoreFailure);
  const found: IssuedSecretId[] = [];
  for (const accessor of (listed?.data?.keys ?? []) as string[]) {
    const body = { secret_id_accessor: accessor };
    const lookup = { method: "POST", path: `${path}/secret-id-accessor/lookup`, body } as const;
    const { data } = (await client.request(lookup, { expected: [404] }).catch(ignoreFailure)) ?? {};
    if (data !== undefined) found.push({ accessor, delivery: data.metadata?.delivery });
  }
  return found;
}

function ignoreFailure(error: unknown): undefined {
  if (!(error instanceof VaultFailure)) throw error;
}
