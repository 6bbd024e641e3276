import { createHash } from "node:crypto";
import { exitCodes, ScriptError } from "../cli/script-error.ts";

/** What segments go through on their way to the disk and back. */
export interface Seal {
  /** What the manifest tells of it; null when segments are stored as they are. */
  readonly encryption: { readonly cipher: "AES-256-GCM"; readonly keyId: string } | null;
  /**
   * @param path the file's place in the archive: part of what is authenticated, so files can't be exchanged
   */
  close(content: Uint8Array, path: string): Promise<Uint8Array>;
  /** @throws {ScriptError} `ARCHIVE_KEY` (exit 11) when the key is another one, or the content was tampered with */
  open(content: Uint8Array, path: string): Promise<Uint8Array>;
}

/** Stores segments as they are. */
export const noSeal: Seal = {
  encryption: null,
  close: async (content) => content,
  open: async (content) => content,
};

const keyBytes = 32;
const nonceBytes = 12;

/**
 * Makes a seal of a key: AES-256-GCM, a fresh nonce for each segment, the archive's id and the file's place
 * authenticated with it.
 *
 * @param key 64 hexadecimal digits
 * @param archiveId so that a segment of another archive is refused
 * @throws {ScriptError} `ARCHIVE_KEY` (exit 2) for a key that can't be used; never is an archive written without it
 */
export async function makeSeal(key: string, archiveId: string): Promise<Seal> {
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

/** @returns the error of an archive that this key does not open (exit 11) */
export function wrongKey(): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_KEY",
    exitCode: exitCodes.verification,
    message: "The archive can't be decrypted with this key",
    why: "It was encrypted with another key, or was tampered with.",
    fix: "Give the key it was encrypted with: --key-file <file>",
  });
}

function unusableKey(): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_KEY",
    exitCode: exitCodes.usage,
    message: "The key for archives can't be used; nothing was written",
    why: `It has to be ${keyBytes * 2} hexadecimal digits: ${keyBytes} bytes.`,
    fix: "Make one: openssl rand -hex 32 > archive.key",
  });
}
