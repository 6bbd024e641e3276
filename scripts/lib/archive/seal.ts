import { createHash } from "node:crypto";
import { exitCodes, ScriptError } from "../cli/script-error.ts";

/** Encrypts segments before they are written, and decrypts them after they are read. */
export interface Seal {
  /** What the manifest records; null if segments are stored unencrypted. */
  readonly encryption: { readonly cipher: "AES-256-GCM"; readonly keyId: string } | null;
  /** @param path the file's path in the archive, which is authenticated so that files cannot be swapped */
  close(content: Uint8Array, path: string): Promise<Uint8Array>;
  /** @throws {ScriptError} `ARCHIVE_KEY` (exit 11) if the key is wrong, or if the content was tampered with */
  open(content: Uint8Array, path: string): Promise<Uint8Array>;
}

/** Stores segments unencrypted. */
export const noSeal: Seal = {
  encryption: null,
  close: async (content) => content,
  open: async (content) => content,
};

const keyBytes = 32;
const nonceBytes = 12;

/**
 * Creates a seal from a key. It uses AES-256-GCM with a fresh nonce for each segment. The archive's id and the file's
 * path are authenticated along with the content.
 *
 * @param key 64 hexadecimal digits
 * @param archiveId the archive's id, so that the seal rejects segments of other archives
 * @throws {ScriptError} `ARCHIVE_KEY` (exit 2) if the key is malformed
 */
export async function createSeal(key: string, archiveId: string): Promise<Seal> {
  if (!/^[0-9a-f]{64}$/i.test(key.trim())) throw unusableKey();
  const bytes = Buffer.from(key.trim(), "hex");
  const imported = await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]);
  const parameters = (nonce: Uint8Array<ArrayBuffer>, path: string) => ({
    name: "AES-GCM",
    iv: nonce,
    additionalData: new TextEncoder().encode(`${archiveId}/${path}`),
  });
  const keyId = createHash("sha256").update("cqrs-postgres archive key\0").update(bytes).digest("hex").slice(0, 16);
  return {
    encryption: { cipher: "AES-256-GCM", keyId },
    async close(content, path) {
      const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
      const closed = await crypto.subtle.encrypt(parameters(nonce, path), imported, new Uint8Array(content));
      return Buffer.concat([nonce, new Uint8Array(closed)]);
    },
    async open(content, path) {
      const nonce = new Uint8Array(content.subarray(0, nonceBytes));
      const sealed = new Uint8Array(content.subarray(nonceBytes));
      const opened = await crypto.subtle.decrypt(parameters(nonce, path), imported, sealed).catch(() => {
        throw wrongKey();
      });
      return new Uint8Array(opened);
    },
  };
}

/** @returns the error of a key that does not decrypt the archive (exit 11) */
export function wrongKey(): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_KEY",
    exitCode: exitCodes.verification,
    message: "This key does not decrypt the archive",
    why: "The archive was encrypted with another key, or it was tampered with.",
    fix: "Pass the key that it was encrypted with: --key-file <file>",
  });
}

function unusableKey(): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_KEY",
    exitCode: exitCodes.usage,
    message: "The archive key is malformed; nothing was written",
    why: `A key is ${keyBytes} bytes, written as ${keyBytes * 2} hexadecimal digits.`,
    fix: "Use another key. To create one, run openssl rand -hex 32 > archive.key",
  });
}
