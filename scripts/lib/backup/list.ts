import { type ListedArchive, listArchives, type UnreadableArchive } from "../archive/folder.ts";
import { countRows } from "../archive/manifest.ts";
import { exitCodes } from "../cli/script-error.ts";
import type { Stack } from "../stack/stack.ts";
import { findBackupsDir } from "./backups-dir.ts";

/** An archive as `backup list` shows it. */
export interface BackupEntry {
  readonly id: string;
  readonly archive: string;
  readonly kind: "full" | "incremental";
  /** The full archive that an incremental one is based on. */
  readonly base: string | null;
  readonly database: string;
  readonly endedAt: string;
  readonly rows: number;
  /** Position of the last event in the archive. */
  readonly lastPosition: string;
  readonly sizeBytes: number;
  readonly isEncrypted: boolean;
  /** When it last passed a verification; null if it never did. */
  readonly verifiedAt: string | null;
}

/** An archive that cannot be read. */
export interface UnreadableEntry {
  readonly id: string;
  readonly archive: string;
  /** The code of the error: `ARCHIVE_CORRUPT`. */
  readonly code: string;
  readonly isDamaged: boolean;
  readonly why: string;
}

/** The archives in a folder, each list oldest first. */
export interface BackupList {
  readonly archives: readonly BackupEntry[];
  readonly unreadable: readonly UnreadableEntry[];
}

/**
 * Lists the archives in a folder.
 *
 * @throws {ScriptError} `NO_ARCHIVE` (exit 2) if `from` does not exist
 */
export async function listBackups(stack: Stack, from?: string): Promise<BackupList> {
  const { archives, unreadable } = await listArchives(await findBackupsDir(stack, from));
  return { archives: archives.map(describeArchive), unreadable: unreadable.map(describeUnreadable) };
}

/** Describes an archive that cannot be read. */
export function describeUnreadable({ id, dir, problem }: UnreadableArchive): UnreadableEntry {
  const { code, exitCode, message, why = message } = problem;
  return { id, archive: dir, code, isDamaged: exitCode === exitCodes.verification, why };
}

function describeArchive({ dir, manifest, sizeBytes, verifiedAt }: ListedArchive): BackupEntry {
  const { id, base, database, endedAt, lastPosition, encryption } = manifest;
  return {
    id,
    archive: dir,
    kind: base === null ? "full" : "incremental",
    base: base?.id ?? null,
    database,
    endedAt,
    rows: countRows(manifest),
    lastPosition,
    sizeBytes,
    isEncrypted: encryption !== null,
    verifiedAt,
  };
}
