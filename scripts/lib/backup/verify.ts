import { markVerified } from "../archive/folder.ts";
import { countRows, type Manifest } from "../archive/manifest.ts";
import { type OpenArchive, withArchive } from "../archive/open.ts";
import { verifyArchive, verifyDeeply } from "../archive/verify.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { findBackupsDir } from "./backups-dir.ts";
import { sealForReading } from "./key.ts";
import { type RestoreOptions, rehearseRestore } from "./restore.ts";

/** What was verified, and how thoroughly. */
export interface VerifiedBackup {
  readonly archive: string;
  readonly id: string;
  readonly rows: number;
  readonly depth: "quick" | "deep" | "restored";
}

/** Which archive to verify, and how thoroughly. */
export interface VerifyOptions extends Pick<RestoreOptions, "archive" | "from" | "keyFile"> {
  /**
   * `quick` checks sizes and digests; `deep` also decompresses everything and counts the rows; `restored` restores the
   * archive into a temporary database.
   */
  readonly depth: VerifiedBackup["depth"];
}

/**
 * Verifies an archive, and records when it passed.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2), `ARCHIVE_INCOMPLETE`, `ARCHIVE_CORRUPT` (exit 11)
 */
export async function verifyBackup(stack: Stack, options: VerifyOptions, run: RunContext): Promise<VerifiedBackup> {
  const folder = await findBackupsDir(stack, options.from);
  return withArchive({ folder, requested: options.archive, signal: run.signal }, async (opened) => {
    const manifest = await verifyToDepth(stack, opened, options, run);
    if (!opened.isUnpacked) await markVerified(opened.dir, new Date());
    return { archive: opened.name, id: manifest.id, rows: countRows(manifest), depth: options.depth };
  });
}

async function verifyToDepth(
  stack: Stack,
  opened: OpenArchive,
  { depth, keyFile }: VerifyOptions,
  run: RunContext,
): Promise<Manifest> {
  if (depth === "restored") return rehearseRestore(stack, opened, keyFile, run);
  const manifest = await verifyArchive(opened.dir);
  if (depth === "quick") return manifest;
  return verifyDeeply(opened.dir, await sealForReading(stack, manifest, keyFile));
}
