import { formatBytes, formatTable } from "../cli/format.ts";
import type { BackupEntry, BackupList, UnreadableEntry } from "./list.ts";

/** @returns one line per archive; those that cannot be read come last */
export function formatArchives({ archives, unreadable }: BackupList): string {
  const rows = [
    ...archives.map((entry) => [entry.id, formatArchive(entry)] as const),
    ...unreadable.map((entry) => [entry.id, formatProblem(entry)] as const),
  ];
  return rows.length === 0 ? "no archives" : formatTable(rows);
}

function formatArchive({ kind, rows, sizeBytes, lastPosition }: BackupEntry): string {
  return `${kind}  ${rows} rows, ${formatBytes(sizeBytes)}, up to position ${lastPosition}`;
}

/** @returns why an archive cannot be read */
export function formatProblem({ isDamaged, why }: UnreadableEntry): string {
  return `${isDamaged ? "damaged" : "unreadable"}: ${why}`;
}

/** @returns an archive's path, or words for a tar stream from stdin */
export function describeSource(archive: string): string {
  return archive === "-" ? "the archive from stdin" : archive;
}
