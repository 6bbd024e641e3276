import { Buffer } from "node:buffer";
import type { VaultClient } from "./client.ts";

/**
 * Makes a root token from the unseal key: for the moments when nothing else may change the set-up. Whoever calls this
 * gives it back by {@link revokeRoot}.
 *
 * @param unsealKey the whole key, in base64
 */
export async function generateRoot(client: VaultClient, unsealKey: string): Promise<string> {
  // An attempt that a killed run began would be in the way; this Vault's key is ours alone.
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

/** Ends a root token. */
export async function revokeRoot(client: VaultClient, token: string): Promise<void> {
  await client.request({ method: "POST", path: "auth/token/revoke-self", body: {} }, { token });
}

/** Ends the root tokens that runs which were killed have left; the client's own stays. */
export async function revokeStrayRoots(client: VaultClient): Promise<void> {
  const { data: own } = await client.request({ method: "GET", path: "auth/token/lookup-self" });
  const { data: list } = await client.request({ method: "GET", path: "auth/token/accessors", isList: true });
  for (const accessor of list.keys as string[]) {
    if (accessor === own.accessor) continue;
    const body = { accessor };
    // 403, 404: it has ended meanwhile.
    const found = await client
      .request({ method: "POST", path: "auth/token/lookup-accessor", body }, { expected: [403, 404] })
      .catch(() => undefined);
    if (found?.data?.policies?.includes("root") !== true) continue;
    await client.request({ method: "POST", path: "auth/token/revoke-accessor", body });
  }
}
