import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "../../postgres/driver.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import { backoffMs } from "../../retry.ts";
import type { RecordedEvent } from "../event.ts";
import { type Attempt, attempt, type FailedAttempt, isMarked, runCode, transactionEnded } from "./attempt.ts";
import { findDeadLetteredStreams, writeDeadLetters } from "./dead-letters.ts";
import {
  enterVersionSchema,
  LeaseLost,
  type ProjectionRun,
  type ProjectionTransaction,
  RunFailed,
} from "./definition.ts";
import type { Lease } from "./lease.ts";
import { refuseQualifiedNames } from "./qualified-names.ts";
import { reportDeadLetter, reportFollowers, reportHalving, reportRetry } from "./report.ts";
import { upcastCopies } from "./upcast-copies.ts";

/** The events of one page that belong to one partition. */
export interface PartitionBatch {
  readonly partition: number;
  readonly events: readonly RecordedEvent[];
  /** The partition's checkpoint once the events are handled. */
  readonly position: bigint;
}

/** The part of a lease that writes need. */
export type WriteLease = Pick<Lease, "token" | "status">;

/** Under what conditions a batch is handled. */
export interface BatchControl {
  readonly lease: WriteLease;
  /** Ends a pause between two attempts. */
  readonly signal: AbortSignal;
  /** Called before a long pause: other partitions do not have to wait for this one. */
  readonly onPause: () => void;
}

/**
 * Handles a batch, or turns what it cannot handle into dead letters. When it returns, the checkpoint is written.
 *
 * A batch that fails because of a conflict is retried unchanged. If it fails for another reason, it is halved
 * repeatedly until the failing event is alone. That is retried after growing pauses.
 *
 * @throws {LeaseLost} if another owner has taken over
 * @throws {RunFailed} if a statement does not match the database (SQLSTATE class 42), or the definition is wrong
 * @throws the connection's error if the server is unreachable; the reason of the signal
 */
export async function handlePartitionBatch(
  run: ProjectionRun,
  control: BatchControl,
  batch: PartitionBatch,
): Promise<void> {
  const { events } = batch;
  if (events.length === 0) return writeCheckpoint(run.store.sql, run, control.lease, batch);
  const failed = await tryBatch(run, control, batch);
  if (failed === undefined) return;
  if (events.length === 1) return deadLetterBatch(run, control.lease, batch, failed);
  reportHalving(run, events, failed);
  const firstHalf = events.slice(0, events.length / 2);
  const position = firstHalf.at(-1)?.position ?? batch.position;
  await handlePartitionBatch(run, control, { ...batch, events: firstHalf, position });
  if (run.signal.aborted) return;
  await handlePartitionBatch(run, control, { ...batch, events: events.slice(firstHalf.length) });
}

async function deadLetterBatch(
  run: ProjectionRun,
  lease: WriteLease,
  batch: PartitionBatch,
  failed: FailedBatch,
): Promise<void> {
  await inTransaction(run.store.sql, async (tx) => {
    await writeDeadLetters(tx, run, batch.events, failed);
    await writeCheckpoint(tx, run, lease, batch);
  });
  for (const event of batch.events) reportDeadLetter(run, event, failed);
}

/** Why a batch was given up. */
export interface FailedBatch extends FailedAttempt {
  readonly attempts: number;
}

/** Retries after a conflict, which do not count as attempts. */
const maxConflicts = 5;
const conflictBackoff = { firstMs: 5, maxMs: 1_000 };

/**
 * Commits a batch. Retries it if it has one event, or if it fails because of a conflict.
 *
 * @returns undefined if it is committed
 */
async function tryBatch(
  run: ProjectionRun,
  control: BatchControl,
  batch: PartitionBatch,
): Promise<FailedBatch | undefined> {
  let conflicts = 0;
  for (let attempts = 1; ; ) {
    const outcome = await commitBatch(run, control.lease, batch);
    if (outcome.ok) return undefined;
    await checkRun(run, control.lease, outcome);
    if (outcome.kind === "conflict" && conflicts < maxConflicts) {
      await pause(backoffMs(++conflicts, conflictBackoff), control.signal);
    } else {
      const pauseMs = retryPauseMs(run, attempts);
      const isHopeless = outcome.kind === "swallowed" || attempts >= run.maxAttempts;
      if (batch.events.length > 1 || isHopeless) return { ...outcome, attempts };
      for (const event of batch.events) reportRetry(run, event, { ...outcome, attempts, pauseMs });
      control.onPause();
      await pause(pauseMs, control.signal);
      conflicts = 0;
      attempts++;
    }
  }
}

/** Half of the pause to all of it, so that several processes do not retry in lockstep. */
function retryPauseMs({ retryPauseMs: firstMs, maxRetryPauseMs: maxMs }: ProjectionRun, attempts: number): number {
  return Math.min(maxMs, maxTimerMs, firstMs * 4 ** (attempts - 1)) * (0.5 + Math.random() / 2);
}

/** A longer timer fires at once. */
const maxTimerMs = 2 ** 31 - 1;

async function pause(pauseMs: number, signal: AbortSignal): Promise<void> {
  await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/**
 * Throws if a failure ends the run. The lease comes first: a version that was replaced no longer matches its tables.
 *
 * @throws {LeaseLost} {@link RunFailed}
 */
async function checkRun(run: ProjectionRun, { token }: WriteLease, { kind, error }: FailedAttempt): Promise<void> {
  run.abandoned.throwIfAborted();
  const { name, version } = run;
  const rows = await run.store.sql`
    select from read_model.projection where name = ${name} and version = ${version} and token = ${token} limit 1`;
  if (rows.length === 0) throw new LeaseLost(run);
  if (kind === "misfit") throw new RunFailed(kind, error);
}

/** Handles the events and writes the checkpoint in one transaction, which commits only while the lease is held. */
async function commitBatch(run: ProjectionRun, lease: WriteLease, batch: PartitionBatch): Promise<Attempt> {
  let followers: readonly RecordedEvent[] = [];
  const work = async (tx: ProjectionTransaction) => {
    const hasDeadLetters = await enterVersionSchema(tx, run, lease.status);
    run.abandoned.throwIfAborted();
    followers = hasDeadLetters ? await deadLetterFollowers(tx, run, batch.events) : [];
    const events = followers.length === 0 ? batch.events : batch.events.filter((event) => !followers.includes(event));
    if (events.length > 0) await handleEvents(run, lease, events, tx);
    run.abandoned.throwIfAborted();
    await writeBatchCheckpoint(tx, run, lease, batch);
  };
  const outcome = await attempt(run, work, (ageMs) => ageMs < run.leaseMs && toleratesLoss(run, batch));
  if (outcome.ok) {
    run.losses.delete(batchKey(batch));
    reportFollowers(run, followers);
  }
  return outcome;
}

function handleEvents(
  run: ProjectionRun,
  { status }: WriteLease,
  events: readonly RecordedEvent[],
  tx: ProjectionTransaction,
): Promise<void> {
  return runCode(run, tx, async () => {
    // An array of its own, because another attempt needs the events again, whatever the handler does with the array.
    const converted = upcastCopies(events, run.store.upcasters, run.events);
    if (converted.length === 0) return;
    await run.handle(converted, tx);
    await refuseQualifiedNames(tx, run, status);
  });
}

/** After how many lost sessions in a row, while the same batch is handled, the batch counts as failed. */
const maxLosses = 15;

function toleratesLoss({ losses }: ProjectionRun, batch: PartitionBatch): boolean {
  const count = (losses.get(batchKey(batch)) ?? 0) + 1;
  losses.set(batchKey(batch), count);
  return count <= maxLosses;
}

function batchKey({ partition, events }: PartitionBatch): string {
  return `${partition}:${events[0]?.position}`;
}

/** Turns the events of streams that have dead letters into dead letters too. @returns these events */
async function deadLetterFollowers(
  tx: Sql,
  run: ProjectionRun,
  events: PartitionBatch["events"],
): Promise<PartitionBatch["events"]> {
  const streams = await findDeadLetteredStreams(tx, run, events);
  const followers = events.filter(({ streamId }) => streams.has(streamId));
  if (followers.length > 0) await writeDeadLetters(tx, run, followers, { attempts: 0 });
  return followers;
}

/**
 * Writes a partition's checkpoint. It is the last statement of its transaction, because it locks a row that the next
 * owner of the lease waits for.
 *
 * @throws {LeaseLost} if the token is not the newest
 */
async function writeCheckpoint(
  sql: Sql,
  run: ProjectionRun,
  { token }: WriteLease,
  { partition, position }: PartitionBatch,
): Promise<void> {
  const { name, version } = run;
  const { count } = await sql`
    update read_model.projection
    set checkpoint = ${position}, updated_at = clock_timestamp()
    where name = ${name} and version = ${version} and partition = ${partition} and token = ${token}`;
  if (count !== 1) throw new LeaseLost(run);
}

/**
 * Writes the checkpoint of a batch that the projection's code has handled.
 *
 * @throws {LeaseLost} if the token is not the newest
 * @throws {RunFailed} if the code has ended the transaction
 */
async function writeBatchCheckpoint(
  tx: Sql,
  run: ProjectionRun,
  { token }: WriteLease,
  { partition, position }: PartitionBatch,
): Promise<void> {
  const { name, version } = run;
  const { count } = await tx`
    update read_model.projection
    set checkpoint = ${position}, updated_at = clock_timestamp()
    where name = ${name} and version = ${version} and partition = ${partition} and token = ${token}
      and current_setting('cqrs.projection', true) = 'on'`;
  if (count === 1) return;
  throw (await isMarked(tx)) ? new LeaseLost(run) : transactionEnded(run);
}

/** Runs the projection's `refresh`, which commits only while the lease is held. */
export async function refreshProjection(run: ProjectionRun, lease: WriteLease): Promise<void> {
  const { name, version, refresh } = run;
  if (refresh === undefined) return;
  const outcome = await attempt(run, async (tx) => {
    await enterVersionSchema(tx, run, lease.status);
    run.abandoned.throwIfAborted();
    await runCode(run, tx, async () => {
      await refresh(tx);
      await refuseQualifiedNames(tx, run, lease.status);
    });
    run.abandoned.throwIfAborted();
    const { count } = await tx`
      select from read_model.projection
      where name = ${name} and version = ${version} and token = ${lease.token} for share`;
    if (!(await isMarked(tx))) throw transactionEnded(run);
    if (count === 0) throw new LeaseLost(run);
  });
  if (outcome.ok) return;
  await checkRun(run, lease, outcome);
  throw new RunFailed("failed", outcome.error);
}
