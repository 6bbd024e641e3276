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
