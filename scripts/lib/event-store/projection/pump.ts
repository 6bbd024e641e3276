import type { RecordedEvent } from "../event.ts";
import { type LogPage, type ReadLogOptions, readPages } from "../read.ts";
import { firstPauseMs, longerPauseMs } from "../wake-ups.ts";
import { handlePartitionBatch, type PartitionBatch, refreshProjection } from "./batch.ts";
import { LeaseLost, type ProjectionOutcome, type ProjectionRun, type ProjectionStatus } from "./definition.ts";
import { type Lease, takeLease } from "./lease.ts";
import { changePartitions, findServingVersion, type ReplacedVersion, swapVersions } from "./version.ts";

/** What a run knows while it holds the lease. */
interface PumpProgress {
  /** The checkpoint of each partition. */
  positions: bigint[];
  status: ProjectionStatus;
  /** Whether events were handled since the last refresh. */
  isStale: boolean;
  /** The version that this one is about to replace. */
  replaced: (ReplacedVersion & { readonly position: bigint }) | undefined;
}

/**
 * Reads the log page by page and passes each page to the partitions, while the next pages are being fetched. It reads
 * outside the transactions that handle the events: events never change, and the token decides whose batch counts.
 *
 * @returns why the run ended
 * @throws {LeaseLost} if another owner has taken over
 */
export async function pumpEvents(run: ProjectionRun, lease: Lease): Promise<ProjectionOutcome> {
  const progress: PumpProgress = {
    positions: [...lease.positions],
    status: lease.status,
    isStale: true,
    replaced: undefined,
  };
  const { store, signal, stopWhenCaughtUp } = run;
  let pauseMs = firstPauseMs;
  while (!signal.aborted) {
    // In this order, no event is missed: one before the count is read now, one after it ends the wait below.
    if (!stopWhenCaughtUp) store.wakeUps.listen();
    const { count } = store.wakeUps;
    for await (const page of readPages(store.sql, pageOptions(run, lowest(progress.positions)))) {
      if (signal.aborted) return "stopped";
      await handlePage(run, lease, progress, page);
      if (page.events.length > 0) pauseMs = firstPauseMs;
    }
    if (signal.aborted) break;
    if (await completeCatchUp(run, lease, progress)) {
      if (stopWhenCaughtUp) return "caught-up";
      await store.wakeUps.wait(count, pauseMs, AbortSignal.any([signal, lease.lost]));
      pauseMs = longerPauseMs(pauseMs);
    }
    lease.lost.throwIfAborted();
  }
  return "stopped";
}

function pageOptions({ store, batchSize, events, signal }: ProjectionRun, after: bigint): ReadLogOptions {
  const filter = events === undefined ? {} : { eventTypes: events };
  const place = { position: after, eventId: null, epochId: null };
  return { ...filter, after: place, isKeptOutside: false, maxCount: batchSize, upcasters: store.upcasters, signal };
}

async function handlePage(run: ProjectionRun, lease: Lease, progress: PumpProgress, page: LogPage): Promise<void> {
  await adoptPartitions(run, lease, progress);
  const reached = page.place.position;
  const batches = partitionEvents(page.events, progress.positions, reached);
  const writeLease = { token: lease.token, status: progress.status };
  // Even if one fails, all must settle before the lease can be taken again.
  const outcomes = await Promise.allSettled(batches.map((batch) => handlePartitionBatch(run, writeLease, batch)));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  if (run.signal.aborted) return;
  for (const { partition } of batches) progress.positions[partition] = reached;
  if (page.events.length > 0) progress.isStale = true;
}

/** Repartitions the streams if their number changed, once all old partitions have reached one common position. */
async function adoptPartitions(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<void> {
  const { positions } = progress;
  const position = lowest(positions);
  if (positions.length === run.partitions || positions.some((one) => one !== position)) return;
  if (!(await changePartitions(run, position, lease.token))) throw new LeaseLost(run);
  progress.positions = Array<bigint>(run.partitions).fill(position);
}

/** @returns a batch for each partition that has not reached the position yet */
function partitionEvents(
  events: readonly RecordedEvent[],
  positions: readonly bigint[],
  reached: bigint,
): PartitionBatch[] {
  const eventsOf = positions.map((): RecordedEvent[] => []);
  for (const event of events) {
    const partition = partitionOf(event.streamId, positions.length);
    // A partition that was ahead when the last run ended has already handled it.
    if (event.position > (positions[partition] ?? 0n)) eventsOf[partition]?.push(event);
  }
  const batches = eventsOf.map((events, partition) => ({ partition, events, position: reached }));
  return batches.filter(({ partition }) => reached > (positions[partition] ?? 0n));
}

/** @returns which of `count` partitions a stream belongs to; its id is already a hash */
export function partitionOf(streamId: string, count: number): number {
  return count === 1 ? 0 : Number.parseInt(streamId.slice(0, 8), 16) % count;
}

/**
 * Refreshes the projection at the end of the log, and cuts over if its version is still being built.
 *
 * @returns false if there is more to read before that
 */
async function completeCatchUp(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<boolean> {
  if (progress.positions.length !== run.partitions) await adoptPartitions(run, lease, progress);
  if (progress.isStale) await refreshProjection(run, { token: lease.token, status: progress.status });
  progress.isStale = false;
  return progress.status !== "building" || (await cutOver(run, lease, progress));
}

/**
 * Replaces the serving version. Takes its lease first, so that it stops advancing; then this version catches up with
 * it, so that readers never see an older state than before.
 *
 * @returns false if there is more to read before that, or if the attempt must be repeated
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
  // Otherwise the lease that we took had expired, and its owner took it back.
  if (isSwapped) progress.status = "serving";
  else progress.replaced = undefined;
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
