import { type ListedArchive, listArchives } from "../archive/folder.ts";
import { countRows } from "../archive/manifest.ts";
import type { Stack } from "../stack/stack.ts";
import { backupsDir } from "./backups-dir.ts";

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

/** Lists the archives in a folder, oldest first. */
export async function listBackups(stack: Stack, from?: string): Promise<BackupEntry[]> {
  return (await listArchives(from ?? backupsDir(stack))).map(describeArchive);
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
