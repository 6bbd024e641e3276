import { findArchive, type ListedArchive, listArchives } from "../archive/folder.ts";
import type { Manifest } from "../archive/manifest.ts";
import { noSeal } from "../archive/seal.ts";
import { verifyArchive, verifyDeeply } from "../archive/verify.ts";
import { backupsDir } from "./backup.ts";
import type { Stack } from "./stack.ts";

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
}

/** What a verification found. */
export interface VerifiedBackup {
  readonly archive: string;
  readonly id: string;
  readonly rows: number;
  readonly depth: "quick" | "deep";
}

/** Lists the archives of a folder, the oldest first. */
export async function listBackups(stack: Stack, from?: string): Promise<BackupEntry[]> {
  return (await listArchives(from ?? backupsDir(stack))).map(describe);
}

/**
 * Checks an archive.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2), `ARCHIVE_INCOMPLETE`, `ARCHIVE_CORRUPT` (exit 11)
 */
export async function verifyBackup(
  stack: Stack,
  options: { readonly archive: string; readonly from?: string | undefined; readonly deep?: boolean | undefined },
): Promise<VerifiedBackup> {
  const archive = await findArchive(options.from ?? backupsDir(stack), options.archive);
  const isDeep = options.deep === true;
  const manifest = isDeep ? await verifyDeeply(archive, noSeal) : await verifyArchive(archive);
  return { archive, id: manifest.id, rows: countRows(manifest), depth: isDeep ? "deep" : "quick" };
}

function describe({ dir, manifest, sizeBytes }: ListedArchive): BackupEntry {
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
  };
}

/** @returns how many rows an archive holds */
export function countRows({ tables }: Manifest): number {
  return tables.reduce((sum, { rows }) => sum + rows, 0);
}
