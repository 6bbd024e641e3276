import type { VaultClient } from "./client.ts";
import { VaultFailure } from "./failure.ts";
import type { AppRoleName } from "./setup.ts";

/** Destroys the secret id of a delivery, so that nobody can log in with it any more. */
export async function revokeSecretId(client: VaultClient, role: AppRoleName, delivery: string): Promise<void> {
  const path = `auth/approle/role/${role}`;
  for (const { accessor, delivery: found } of await listSecretIds(client, role)) {
    if (found !== delivery) continue;
    const body = { secret_id_accessor: accessor };
    await client.request({ method: "POST", path: `${path}/secret-id-accessor/destroy`, body });
  }
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
  const { data } = await client.request({ method: "GET", path: "auth/token/accessors", isList: true });
  let count = 0;
  for (const accessor of data.keys as string[]) {
    const meta = await readTokenMetadata(client, accessor);
    if (meta?.["role_name"] !== role || meta["delivery"] === undefined || valid.has(meta["delivery"])) continue;
    await client.request({ method: "POST", path: "auth/token/revoke-accessor", body: { accessor } });
    count++;
  }
  return count;
}

/** Vault copies the metadata of a secret id to the tokens that it issues for it. */
async function readTokenMetadata(
  client: VaultClient,
  accessor: string,
): Promise<Readonly<Record<string, string>> | undefined> {
  const request = { method: "POST", path: "auth/token/lookup-accessor", body: { accessor } } as const;
  // The token may have expired in the meantime.
  const found = await client.request(request, { expected: [403, 404] }).catch(ignoreFailure);
  return found?.data?.meta ?? undefined;
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
