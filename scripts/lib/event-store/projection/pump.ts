import { checkpointPosition, makeCheckpoint } from "../checkpoint.ts";
import type { RecordedEvent } from "../event.ts";
import { type ReadLogOptions, readPages } from "../read.ts";
import { firstPauseMs, longerPauseMs } from "../wake-ups.ts";
import { handlePartitionBatch, type PartitionBatch, refreshProjection } from "./batch.ts";
import { LeaseLost, type ProjectionOutcome, type ProjectionRun, type ProjectionStatus } from "./definition.ts";
import { type Lease, takeLease } from "./lease.ts";
import { changePartitions, findServingVersion, type ReplacedVersion, swapVersions } from "./version.ts";

/** What a run knows while it holds the lease. */
interface PumpProgress {
  /** How far each partition has come. */
  positions: bigint[];
  status: ProjectionStatus;
  /** Events were handled since the last refresh. */
  isStale: boolean;
  /** The version in whose place this one is about to step. */
  replaced: (ReplacedVersion & { readonly position: bigint }) | undefined;
}

/**
 * Reads the log for a projection and hands it to the partitions, a page after the other: the next ones are read while one
 * is handled. It is read outside of the transactions that handle it; events don't change, and the token decides whose
 * batch counts.
 */
export async function pumpEvents(run: ProjectionRun, lease: Lease): Promise<ProjectionOutcome | undefined> {
  const progress: PumpProgress = {
    positions: [...lease.positions],
    status: lease.status,
    isStale: true,
    replaced: undefined,
  };
  const { store, signal, stopWhenCaughtUp } = run;
  let pauseMs = firstPauseMs;
  while (!signal.aborted) {
    // In this order: what is announced after the count ends a wait that begins with it, what was before is read.
    if (!stopWhenCaughtUp) await store.wakeUps.listen();
    const heard = store.wakeUps.count;
    for await (const page of readPages(store.sql, pageOptions(run, lowest(progress.positions)))) {
      if (signal.aborted) return "stopped";
      await handlePage(run, lease, progress, page.events, checkpointPosition(page.checkpoint));
      if (page.events.length > 0) pauseMs = firstPauseMs;
    }
    if (signal.aborted) break;
    if (await completeCatchUp(run, lease, progress)) {
      if (stopWhenCaughtUp) return "caught-up";
      await store.wakeUps.wait(heard, pauseMs, AbortSignal.any([signal, lease.lost]));
      pauseMs = longerPauseMs(pauseMs);
    }
    lease.lost.throwIfAborted();
  }
  return "stopped";
}

function pageOptions({ store, batchSize, events }: ProjectionRun, after: bigint): ReadLogOptions {
  const filter = events === undefined ? {} : { eventTypes: events };
  return { ...filter, after: makeCheckpoint(after), maxCount: batchSize, upcasters: store.upcasters };
}

async function handlePage(
  run: ProjectionRun,
  lease: Lease,
  progress: PumpProgress,
  events: readonly RecordedEvent[],
  reached: bigint,
): Promise<void> {
  await drainOldPartitions(run, lease, progress);
  const shares = partitionEvents(events, progress.positions, reached);
  const right = { token: lease.token, status: progress.status };
  // All have to end before anybody may take the lease again, whichever of them fails.
  const outcomes = await Promise.allSettled(shares.map((share) => handlePartitionBatch(run, right, share)));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  if (run.signal.aborted) return;
  for (const { partition } of shares) progress.positions[partition] = reached;
  if (events.length > 0) progress.isStale = true;
}

/** Divides the streams anew once all partitions have come to one position; until then the old ones go on. */
async function drainOldPartitions(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<void> {
  const { positions } = progress;
  const position = lowest(positions);
  if (positions.length === run.partitions || positions.some((one) => one !== position)) return;
  if (!(await changePartitions(run, position, lease.token))) throw new LeaseLost(run);
  progress.positions = Array<bigint>(run.partitions).fill(position);
}

/** @returns what each partition that is not as far yet has to handle */
function partitionEvents(
  events: readonly RecordedEvent[],
  positions: readonly bigint[],
  reached: bigint,
): PartitionBatch[] {
  const parts = positions.map((): RecordedEvent[] => []);
  for (const event of events) {
    const partition = partitionOf(event.streamId, positions.length);
    // One that was ahead when the last run ended has handled it.
    if (event.position > (positions[partition] ?? 0n)) parts[partition]?.push(event);
  }
  const shares = parts.map((part, partition) => ({ partition, events: part, position: reached }));
  return shares.filter(({ partition }) => reached > (positions[partition] ?? 0n));
}

/** @returns which of `count` partitions a stream belongs to: its id is a hash already */
export function partitionOf(streamId: string, count: number): number {
  return count === 1 ? 0 : Number.parseInt(streamId.slice(0, 8), 16) % count;
}

/** At the end of the log: brings up to date what is written now and then, and steps in the place of another version. */
async function completeCatchUp(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<boolean> {
  if (progress.positions.length !== run.partitions) await drainOldPartitions(run, lease, progress);
  if (progress.isStale) await refreshProjection(run, { token: lease.token, status: progress.status });
  progress.isStale = false;
  if (progress.status === "building" && !(await cutOver(run, lease, progress))) return false;
  return true;
}

/**
 * Takes the place of the version that serves. Its lease is taken first, so that it advances no more; then this version
 * comes as far as that one had come, so that readers never see an older state than before.
 *
 * @returns false when there is more to read before, or it has to be tried again
 */
async function cutOver(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<boolean> {
  const version = await findServingVersion(run);
  if (version !== undefined && progress.replaced === undefined) {
    const taken = await takeLease(run.store.sql, { ...run, version }, true);
    if (taken === undefined) return false;
    progress.replaced = { version, token: taken.token, position: highest(taken.positions) };
  }
  if (lowest(progress.positions) < (progress.replaced?.position ?? 0n)) return false;
  const isSwapped = await swapVersions(run, lease.token, progress.replaced);
  // Its owner took the lease back, since that had expired meanwhile.
  if (!isSwapped) progress.replaced = undefined;
  else progress.status = "serving";
  return isSwapped;
}

function lowest(positions: readonly bigint[]): bigint {
  let least = positions[0] ?? 0n;
  for (const position of positions) if (position < least) least = position;
  return least;
}

function highest(positions: readonly bigint[]): bigint {
  let greatest = 0n;
  for (const position of positions) if (position > greatest) greatest = position;
  return greatest;
}
