import { type ListedArchive, listArchives, markVerified } from "../archive/folder.ts";
import { countRows, type Manifest } from "../archive/manifest.ts";
import { type OpenArchive, openArchive } from "../archive/open.ts";
import { verifyArchive, verifyDeeply } from "../archive/verify.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { backupsDir } from "./create.ts";
import { sealForReading } from "./key.ts";
import { type RestoreOptions, rehearseRestore } from "./restore.ts";

/** An archive as `backup list` tells of it. */
export interface BackupEntry {
  readonly id: string;
  readonly archive: string;
  readonly kind: "full" | "incremental";
  /** The full archive that an incremental one needs. */
  readonly base: string | null;
  readonly database: string;
  readonly endedAt: string;
  readonly rows: number;
  /** Position of the last event in it. */
  readonly lastPosition: string;
  readonly sizeBytes: number;
  readonly isEncrypted: boolean;
  /** When it was last found to be whole; null when nobody has looked. */
  readonly verifiedAt: string | null;
}

/** What a verification found. */
export interface VerifiedBackup {
  readonly archive: string;
  readonly id: string;
  readonly rows: number;
  readonly depth: "quick" | "deep" | "restored";
}

/** Lists the archives of a folder, the oldest first. */
export async function listBackups(stack: Stack, from?: string): Promise<BackupEntry[]> {
  return (await listArchives(from ?? backupsDir(stack))).map(describeArchive);
}

/** How thoroughly an archive is checked. */
export interface VerifyOptions extends Pick<RestoreOptions, "archive" | "from" | "keyFile"> {
  /** `quick`: sizes and digests; `deep`: decompressed and counted; `restored`: into a database that is dropped again. */
  readonly depth: VerifiedBackup["depth"];
}

/**
 * Checks an archive, and remembers that it was found to be whole.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2), `ARCHIVE_INCOMPLETE`, `ARCHIVE_CORRUPT` (exit 11)
 */
export async function verifyBackup(stack: Stack, options: VerifyOptions, run: RunContext): Promise<VerifiedBackup> {
  await using opened = await openArchive(options.from ?? backupsDir(stack), options.archive, run.signal);
  const manifest = await verifyTo(stack, opened, options, run);
  if (!opened.isUnpacked) await markVerified(opened.dir, new Date());
  return { archive: opened.name, id: manifest.id, rows: countRows(manifest), depth: options.depth };
}

async function verifyTo(
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

function describeArchive({ dir, manifest, sizeBytes, verifiedAt }: ListedArchive): BackupEntry {
  const { id, base, database, endedAt, lastPosition, encryption } = manifest;
  const kind = base === null ? "full" : "incremental";
  const rows = countRows(manifest);
  const isEncrypted = encryption !== null;
  return {
    id,
    archive: dir,
    kind,
    base: base?.id ?? null,
    database,
    endedAt,
    rows,
    lastPosition,
    sizeBytes,
    isEncrypted,
    verifiedAt,
  };
}
