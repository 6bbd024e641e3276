import { Buffer } from "node:buffer";
import type { VaultClient } from "./client.ts";

/**
 * Generates a root token from the unseal key, for changes to the set-up that need one. The caller must revoke it with
 * {@link revokeRoot}.
 *
 * @param unsealKey the whole key, in base64
 */
export async function generateRoot(client: VaultClient, unsealKey: string): Promise<string> {
  // A killed run may have left an attempt that would block ours. No one else has the key of this Vault.
  await client.anonymously({ method: "DELETE", path: "sys/generate-root/attempt" });
  const { nonce, otp } = await client.anonymously({ method: "POST", path: "sys/generate-root/attempt", body: {} });
  const body = { key: unsealKey, nonce };
  const { encoded_token: encoded } = await client.anonymously({
    method: "POST",
    path: "sys/generate-root/update",
    body,
  });
  const mask = Buffer.from(otp);
  return Buffer.from(Buffer.from(encoded, "base64").map((byte, index) => byte ^ (mask[index] ?? 0))).toString();
}

export async function revokeRoot(client: VaultClient, token: string): Promise<void> {
  await client.request({ method: "POST", path: "auth/token/revoke-self", body: {} }, { token });
}

/** Revokes the root tokens that killed runs left behind, but not the client's own. */
export async function revokeStrayRoots(client: VaultClient): Promise<void> {
  const { data: own } = await client.request({ method: "GET", path: "auth/token/lookup-self" });
  const { data: list } = await client.request({ method: "GET", path: "auth/token/accessors", isList: true });
  for (const accessor of list.keys as string[]) {
    if (accessor === own.accessor) continue;
    const body = { accessor };
    // 403, 404: it has expired in the meantime.
    const found = await client
      .request({ method: "POST", path: "auth/token/lookup-accessor", body }, { expected: [403, 404] })
      .catch(() => undefined);
    if (found?.data?.policies?.includes("root") !== true) continue;
    await client.request({ method: "POST", path: "auth/token/revoke-accessor", body });
  }
}
