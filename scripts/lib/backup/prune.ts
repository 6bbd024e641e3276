import { rm } from "node:fs/promises";
import { type ListedArchive, listArchives } from "../archive/folder.ts";
import { openConnection } from "../postgres/connect.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { administratorTarget, type Stack } from "../stack/stack.ts";
import { findBackupsDir } from "./backups-dir.ts";
import { describeUnreadable, type UnreadableEntry } from "./list.ts";

/** Which archives to keep. */
export interface PruneOptions {
  readonly from: string | undefined;
  /** How many of the newest archives of each database to keep. */
  readonly keep: number;
  /** Also keeps archives that are at most this many days old. */
  readonly keepDays: number | undefined;
  readonly dryRun: boolean;
  readonly now: Date;
}

/** Why an archive is kept: the first of these reasons that applies. */
export type KeptReason = "newest" | "recent" | "verified" | "base";

/** What was removed and what was kept. */
export interface PruneResult {
  readonly isDryRun: boolean;
  readonly removed: readonly string[];
  readonly kept: readonly string[];
  /** Why each of these was kept. */
  readonly reasons: Readonly<Record<string, KeptReason>>;
  /** Archives that cannot be read. They are kept, and do not count as one of the newest. */
  readonly unreadable: readonly UnreadableEntry[];
  /** Kept archives from before the last redaction: they contain erased data. Null if the database is unreachable. */
  readonly holdingErasedData: readonly string[] | null;
}

const dayMs = 86_400_000;

/**
 * Removes old archives. Always keeps the newest verified archive of each database, the full archives that kept
 * incremental ones need, and archives that cannot be read.
 */
export async function pruneArchives(stack: Stack, options: PruneOptions): Promise<PruneResult> {
  const { archives, unreadable } = await listArchives(await findBackupsDir(stack, options.from));
  const kept = chooseKept(archives, options);
  const removed = archives.filter((archive) => !kept.has(archive));
  // Incremental archives first, so that none is ever left without its base.
  for (const { dir } of removed.toSorted((a, b) => Number(isFull(a)) - Number(isFull(b)))) {
    if (!options.dryRun) await rm(dir, { recursive: true });
  }
  const ids = (listed: Iterable<ListedArchive>) => [...listed].map(({ manifest }) => manifest.id);
  const lastRedaction = await readLastRedaction(stack);
  const holding = [...kept.keys()].filter(({ manifest }) => manifest.startedAt < (lastRedaction ?? ""));
  return {
    isDryRun: options.dryRun,
    removed: ids(removed),
    kept: ids(kept.keys()),
    reasons: Object.fromEntries([...kept].map(([{ manifest }, reason]) => [manifest.id, reason])),
    unreadable: unreadable.map(describeUnreadable),
    holdingErasedData: lastRedaction === undefined ? null : ids(holding),
  };
}

function chooseKept(
  archives: readonly ListedArchive[],
  { keep, keepDays, now }: PruneOptions,
): ReadonlyMap<ListedArchive, KeptReason> {
  const kept = new Map<ListedArchive, KeptReason>();
  const add = (chosen: Iterable<ListedArchive>, reason: KeptReason) => {
    for (const archive of chosen) if (!kept.has(archive)) kept.set(archive, reason);
  };
  for (const ofDatabase of Map.groupBy(archives, ({ manifest }) => manifest.database).values()) {
    const since = keepDays === undefined ? Number.POSITIVE_INFINITY : now.getTime() - keepDays * dayMs;
    add(ofDatabase.slice(-keep), "newest");
    add(
      // A time in the future is wrong, and would keep its archive for as long.
      ofDatabase.filter(({ manifest }) => isBetween(Date.parse(manifest.startedAt), since, now.getTime())),
      "recent",
    );
    add(ofDatabase.filter(({ verifiedAt }) => verifiedAt !== null).slice(-1), "verified");
    const baseIds = new Set(ofDatabase.filter((archive) => kept.has(archive)).map(({ manifest }) => manifest.base?.id));
    add(
      ofDatabase.filter(({ manifest }) => baseIds.has(manifest.id)),
      "base",
    );
  }
  return kept;
}

function isBetween(time: number, first: number, last: number): boolean {
  return time >= first && time <= last;
}

function isFull({ manifest }: ListedArchive): boolean {
  return manifest.base === null;
}

/** @returns "" if nothing was ever redacted; undefined if the database is unreachable */
async function readLastRedaction(stack: Stack): Promise<string | undefined> {
  try {
    await using connection = openConnection(await administratorTarget(stack), { role: groupRoles.owner });
    const [row] = await connection.sql<
      { last: Date | null }[]
    >`select max(redacted_at) as last from event_store.redaction`;
    return row?.last?.toISOString() ?? "";
  } catch {
    return undefined;
  }
}
