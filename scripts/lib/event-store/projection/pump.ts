import type { RecordedEvent } from "../event.ts";
import { type LogPage, type ReadLogOptions, readPages } from "../read-log.ts";
import { keepStored, storedTypes } from "../upcast.ts";
import { firstPauseMs, longerPauseMs } from "../wake-ups.ts";
import { type BatchControl, handlePartitionBatch, type PartitionBatch, refreshProjection } from "./batch.ts";
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
  /** Partitions whose batch waits for another attempt, or is in one. Settled once it is done; never rejected. */
  readonly delayed: Map<number, Promise<void>>;
  /** The first error of such a batch. */
  failure: { readonly error: unknown } | undefined;
  /** The version that this one is about to replace. */
  replaced: (ReplacedVersion & { readonly position: bigint }) | undefined;
}

/** What handling pages needs besides the run. */
interface Pumping {
  readonly lease: Lease;
  readonly progress: PumpProgress;
  readonly control: Pick<BatchControl, "signal">;
}

/**
 * Reads the log page by page and passes each page to the partitions, while the next pages are being fetched. It reads
 * outside the transactions that handle the events: events never change, and the token decides whose batch counts.
 *
 * A partition whose batch waits for another attempt is left behind; it continues from its own position after that.
 *
 * @returns why the run ended
 * @throws {LeaseLost} if another owner has taken over
 */
export async function pumpEvents(run: ProjectionRun, lease: Lease): Promise<ProjectionOutcome> {
  const progress: PumpProgress = {
    positions: [...lease.positions],
    status: lease.status,
    isStale: true,
    delayed: new Map(),
    failure: undefined,
    replaced: undefined,
  };
  const ended = new AbortController();
  const control = { signal: AbortSignal.any([run.signal, lease.lost, ended.signal]) };
  try {
    return await pumpUntilEnd(run, { lease, progress, control });
  } finally {
    // All must settle before the lease can be taken again.
    ended.abort();
    await Promise.all(progress.delayed.values());
  }
}

async function pumpUntilEnd(run: ProjectionRun, pumping: Pumping): Promise<ProjectionOutcome> {
  const { lease, progress } = pumping;
  const { store, signal, stopWhenCaughtUp } = run;
  let pauseMs = firstPauseMs;
  while (!signal.aborted) {
    // In this order, no event is missed: one before the count is read now, one after it ends the wait below.
    if (!stopWhenCaughtUp) store.wakeUps.listen();
    const { count } = store.wakeUps;
    const read = await handlePages(run, pumping);
    if (read.hasEvents) pauseMs = firstPauseMs;
    if (signal.aborted) break;
    const wait = () => store.wakeUps.wait(count, pauseMs, AbortSignal.any([signal, lease.lost]));
    if (progress.delayed.size > 0) {
      await refreshIfStale(run, lease, progress);
      await Promise.race([...progress.delayed.values(), ...(canRead(run, progress) ? [wait()] : [])]);
    } else if (isAt(progress, read.end) && (await completeCatchUp(run, lease, progress))) {
      if (stopWhenCaughtUp) return "caught-up";
      await wait();
      pauseMs = longerPauseMs(pauseMs);
    }
    if (progress.failure !== undefined) throw progress.failure.error;
    lease.lost.throwIfAborted();
  }
  return "stopped";
}

/** Whether all partitions have reached the end of what was read. */
function isAt({ positions }: PumpProgress, end: bigint | undefined): boolean {
  return end !== undefined && positions.every((position) => position >= end);
}

/** Whether there may be events for partitions that are not delayed. */
function canRead({ stopWhenCaughtUp }: ProjectionRun, { positions, delayed }: PumpProgress): boolean {
  return !stopWhenCaughtUp && delayed.size < positions.length;
}

/** Handles all pages up to the end of the log, or until a partition that was delayed can continue. */
async function handlePages(
  run: ProjectionRun,
  pumping: Pumping,
): Promise<{ readonly hasEvents: boolean; readonly end: bigint | undefined }> {
  const { progress } = pumping;
  const ready = readyPositions(progress);
  if (ready.length === 0) return { hasEvents: false, end: undefined };
  let hasEvents = false;
  let end = lowest(ready);
  for await (const page of readPages(run.store.sql, pageOptions(run, end))) {
    if (run.signal.aborted) break;
    await handlePage(run, pumping, page, end);
    if (page.events.length > 0) hasEvents = true;
    end = page.place.position;
    if (readyPositions(progress).some((position) => position < end)) break;
  }
  return { hasEvents, end };
}

/** @returns the positions of the partitions that can take events */
function readyPositions({ positions, delayed }: PumpProgress): bigint[] {
  return positions.filter((_, partition) => !delayed.has(partition));
}

/** Reads events as they are stored: what they become is the batch's concern, and so is a failure of an upcaster. */
function pageOptions({ store, batchSize, events, signal }: ProjectionRun, after: bigint): ReadLogOptions {
  const eventTypes = storedTypes(store.upcasters, events);
  const filter = eventTypes === undefined ? {} : { eventTypes };
  const place = { position: after, eventId: null, epochId: null };
  return { ...filter, after: place, isKeptOutside: false, maxCount: batchSize, upcasters: keepStored, signal };
}

/** @param start the position after which the page begins */
async function handlePage(run: ProjectionRun, pumping: Pumping, page: LogPage, start: bigint): Promise<void> {
  const { lease, progress } = pumping;
  await adoptPartitions(run, lease, progress);
  const reached = page.place.position;
  const batches = partitionEvents(page.events, progress.positions, reached).filter(
    ({ partition }) => !progress.delayed.has(partition) && (progress.positions[partition] ?? 0n) >= start,
  );
  // Even if one fails, all must settle before the lease can be taken again.
  const outcomes = await Promise.allSettled(batches.map((batch) => startBatch(run, pumping, batch)));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  if (progress.failure !== undefined) throw progress.failure.error;
}

/** Handles a batch. @returns when it is done, or before it pauses: then its partition is delayed */
async function startBatch(
  run: ProjectionRun,
  { lease, progress, control }: Pumping,
  batch: PartitionBatch,
): Promise<void> {
  const { partition, events, position } = batch;
  const paused = Promise.withResolvers<"paused">();
  const onPause = () => paused.resolve("paused");
  const writeLease = { token: lease.token, status: progress.status };
  const work = handlePartitionBatch(run, { ...control, lease: writeLease, onPause }, batch).then(() => {
    if (run.signal.aborted) return;
    progress.positions[partition] = position;
    if (events.length > 0) progress.isStale = true;
  });
  if ((await Promise.race([work, paused.promise])) !== "paused") return;
  const note = (error: unknown) => {
    progress.failure ??= { error };
  };
  progress.delayed.set(
    partition,
    work.catch(note).finally(() => progress.delayed.delete(partition)),
  );
}

/** Repartitions the streams if their number changed, once all old partitions have reached one common position. */
async function adoptPartitions(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<void> {
  const { positions } = progress;
  const position = lowest(positions);
  if (positions.length === run.partitions || positions.some((one) => one !== position)) return;
  if (progress.delayed.size > 0) return;
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
  await refreshIfStale(run, lease, progress);
  return progress.status !== "building" || (await cutOver(run, lease, progress));
}

async function refreshIfStale(run: ProjectionRun, lease: Lease, progress: PumpProgress): Promise<void> {
  if (progress.isStale) await refreshProjection(run, { token: lease.token, status: progress.status });
  progress.isStale = false;
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
