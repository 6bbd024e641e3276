import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Manifest } from "../archive/manifest.ts";
import { createSeal, noSeal, type Seal, wrongKey } from "../archive/seal.ts";
import { explainFileError } from "../cli/file-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { requireKey, secretPaths } from "../secrets/application-secret.ts";
import type { Stack } from "../stack/stack.ts";

/** Whether to encrypt an archive, and with which key. */
export interface EncryptionOptions {
  readonly encrypt: boolean;
  /** A file with the key; if undefined, the key of the secret store, which is created if necessary. */
  readonly keyFile: string | undefined;
}

/**
 * Creates the seal for a new archive.
 *
 * @throws {ScriptError} `ARCHIVE_KEY` (exit 2) if the key is missing or malformed
 */
export async function sealForWriting(stack: Stack, options: EncryptionOptions, archiveId: string): Promise<Seal> {
  const { encrypt, keyFile } = options;
  if (keyFile !== undefined) return createSeal(await readKeyFile(keyFile), archiveId);
  if (!encrypt) return noSeal;
  const { data } = await stack.secrets.ensure(secretPaths.archiveKey, () => ({ key: randomBytes(32).toString("hex") }));
  return createSeal(requireKey(data, "key", secretPaths.archiveKey), archiveId);
}

/**
 * Creates the seal that decrypts an archive.
 *
 * @throws {ScriptError} `ARCHIVE_KEY` if the key is missing or malformed (exit 2), or wrong (exit 11)
 */
export async function sealForReading(stack: Stack, manifest: Manifest, keyFile: string | undefined): Promise<Seal> {
  if (manifest.encryption === null) return noSeal;
  const key = keyFile === undefined ? await readStoredKey(stack) : await readKeyFile(keyFile);
  const seal = await createSeal(key, manifest.id);
  if (seal.encryption?.keyId !== manifest.encryption.keyId) throw wrongKey();
  return seal;
}

async function readKeyFile(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw noKey(`The file ${file} does not exist.`);
    throw explainFileError(error, file);
  });
}

async function readStoredKey(stack: Stack): Promise<string> {
  const secret = await stack.secrets.read(secretPaths.archiveKey);
  if (secret === undefined) throw noKey(`The secret store has no secret ${secretPaths.archiveKey}.`);
  return requireKey(secret.data, "key", secretPaths.archiveKey);
}

function noKey(why: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_KEY",
    exitCode: exitCodes.usage,
    message: "There is no key for this archive",
    why,
    fix: "Pass the key that it was encrypted with: --key-file <file>",
  });
}
