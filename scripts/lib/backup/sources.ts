import { join } from "node:path";
import type { ArchiveSource } from "../archive/load.ts";
import { corrupt } from "../archive/manifest.ts";
import type { OpenArchive } from "../archive/open.ts";
import { verifyArchive } from "../archive/verify.ts";
import type { Stack } from "../stack/stack.ts";
import { sealForReading } from "./key.ts";

/** An archive and, if it is incremental, its base. */
export interface Sources {
  readonly archive: ArchiveSource;
  readonly base: ArchiveSource | undefined;
}

/**
 * Verifies an archive and its base, and finds the key that decrypts them. The base must be in the same folder.
 *
 * @param keyFile a file with the key; the key of the secret store if undefined
 * @throws {ScriptError} `ARCHIVE_INCOMPLETE`, `ARCHIVE_CORRUPT` (exit 11), or `ARCHIVE_KEY` (exit 2 or 11)
 */
export async function openSources(stack: Stack, opened: OpenArchive, keyFile: string | undefined): Promise<Sources> {
  const archive = await openSource(stack, opened.dir, keyFile);
  const baseId = archive.manifest.base?.id;
  if (baseId === undefined) return { archive, base: undefined };
  const base = await openSource(stack, join(opened.folder, baseId), keyFile);
  if (base.manifest.id !== baseId) throw corrupt(base.dir, `It is the archive ${base.manifest.id}, not ${baseId}.`);
  return { archive, base };
}

async function openSource(stack: Stack, dir: string, keyFile: string | undefined): Promise<ArchiveSource> {
  const manifest = await verifyArchive(dir);
  return { dir, manifest, seal: await sealForReading(stack, manifest, keyFile) };
}
