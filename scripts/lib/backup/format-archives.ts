import { formatBytes, formatTable } from "../cli/format.ts";
import type { BackupEntry, BackupList, UnreadableEntry } from "./list.ts";
import type { KeptReason, PruneResult } from "./prune.ts";

/** @returns one line per archive; those that cannot be read come last */
export function formatArchives({ archives, unreadable }: BackupList): string {
  const rows = [
    ...archives.map((entry) => [entry.id, formatArchive(entry)] as const),
    ...unreadable.map((entry) => [entry.id, formatProblem(entry)] as const),
  ];
  return rows.length === 0 ? "no archives" : formatTable(rows);
}

function formatArchive({ kind, rows, sizeBytes, lastPosition, verifiedAt }: BackupEntry): string {
  const verified = verifiedAt === null ? "not verified" : `verified ${verifiedAt.slice(0, 10)}`;
  return `${kind}  ${rows} rows, ${formatBytes(sizeBytes)}, up to position ${lastPosition}, ${verified}`;
}

/** @returns why an archive cannot be read */
export function formatProblem({ isDamaged, why }: UnreadableEntry): string {
  return `${isDamaged ? "damaged" : "unreadable"}: ${why}`;
}

/** @returns an archive's path, or words for a tar stream from stdin */
export function describeSource(archive: string): string {
  return archive === "-" ? "the archive from stdin" : archive;
}

const reasons: Readonly<Record<KeptReason, string>> = {
  newest: "",
  recent: "",
  verified: ", the last verified",
  base: ", which an incremental archive needs",
};

/** @returns one line per archive: what was done with it, and why it was kept if its age is not the reason */
export function formatPruned({ isDryRun, removed, kept, reasons: why, unreadable, holdingErasedData }: PruneResult) {
  const erased = new Set(holdingErasedData);
  return [
    ...removed.map((id) => `${isDryRun ? "would delete" : "deleted"} ${id}`),
    ...kept.map((id) => `kept ${id}${reasons[why[id] ?? "newest"]}${erased.has(id) ? containsErased : ""}`),
    ...unreadable.map((entry) => `kept ${entry.id}, ${formatProblem(entry)}`),
  ];
}

const containsErased = ", which still contains erased data";
