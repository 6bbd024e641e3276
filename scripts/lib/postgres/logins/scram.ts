/** PostgreSQL's default for `scram_iterations`. */
const scramIterations = 4096;
const saltBytes = 16;
const keyBits = 256;

/**
 * Computes what PostgreSQL stores in place of a password, so that the password itself is never sent or logged.
 *
 * The format is that of `pg_authid.rolpassword`: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`
 * (RFC 5802, RFC 7677).
 *
 * @param password printable ASCII, where SASLprep changes nothing
 * @param salt random by default
 */
export async function scramVerifier(
  password: string,
  salt: Uint8Array<ArrayBuffer> = crypto.getRandomValues(new Uint8Array(saltBytes)),
  iterations: number = scramIterations,
): Promise<string> {
  const salted = await deriveKey(password, salt, iterations);
  const clientKey = await hmac(salted, "Client Key");
  const storedKey = new Uint8Array(await crypto.subtle.digest("SHA-256", clientKey));
  const serverKey = await hmac(salted, "Server Key");
  return `SCRAM-SHA-256$${iterations}:${base64(salt)}$${base64(storedKey)}:${base64(serverKey)}`;
}

/** @returns whether `verifier`, as PostgreSQL stores it, was computed from `password`; false for any other format */
export async function matchesVerifier(password: string, verifier: string | null): Promise<boolean> {
  const parts = /^SCRAM-SHA-256\$([1-9]\d{0,6}):([A-Za-z0-9+/=]+)\$[^:]+:[^:]+$/.exec(verifier ?? "");
  if (parts === null) return false;
  const [, iterations = "", salt = ""] = parts;
  return (await scramVerifier(password, new Uint8Array(Buffer.from(salt, "base64")), Number(iterations))) === verifier;
}

async function deriveKey(password: string, salt: Uint8Array<ArrayBuffer>, iterations: number) {
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(password), "PBKDF2", false, ["deriveBits"]);
  const bits = await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, key, keyBits);
  return new Uint8Array(bits);
}

async function hmac(key: Uint8Array<ArrayBuffer>, text: string): Promise<Uint8Array<ArrayBuffer>> {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, new TextEncoder().encode(text)));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
