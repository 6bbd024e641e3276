import { formatBytes, formatTable } from "../cli/format.ts";
import type { BackupEntry } from "./list.ts";

/** @returns one line per archive */
export function formatArchives(archives: readonly BackupEntry[]): string {
  if (archives.length === 0) return "no archives";
  return formatTable(
    archives.map(({ id, kind, rows, sizeBytes, lastPosition }) => {
      return [id, `${kind}  ${rows} rows, ${formatBytes(sizeBytes)}, up to position ${lastPosition}`] as const;
    }),
  );
}

/** @returns an archive's path, or words for a tar stream from stdin */
export function describeSource(archive: string): string {
  return archive === "-" ? "the archive from stdin" : archive;
}
