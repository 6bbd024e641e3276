import type { Sql } from "../../postgres/connect.ts";
import { connectionFailure, errorCode, isConflict, isMisfit } from "../../postgres/failure.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import { backoffMs, retry } from "../../retry.ts";
import type { RecordedEvent } from "../event.ts";
import { describeError, findDeadLetteredStreams, writeDeadLetters } from "./dead-letters.ts";
import { enterVersionSchema, LeaseLost, type ProjectionRun } from "./definition.ts";
import type { TakenLease } from "./lease.ts";

/** `idle_in_transaction_session_timeout` */
const idleTimeout = "25P03";

/** A partition's part of a page. */
export interface PartitionBatch {
  readonly partition: number;
  readonly events: readonly RecordedEvent[];
  /** How far the partition has come once the events are handled. */
  readonly position: bigint;
}

const backoff = { firstMs: 5, longestMs: 1_000 };

/** What is needed of a lease to write under it. */
export type WriteRight = Pick<TakenLease, "token" | "status">;

/**
 * Handles a share, or sets aside what it can't handle. Returns once the partition's checkpoint is written.
 *
 * A batch that fails for a reason of the moment is tried again as it is. One that fails otherwise is halved, again and
 * again, until the event that is to blame is alone.
 *
 * @throws {LeaseLost} when another owner has taken over
 * @throws what the server says when it is away, or when the program and its tables don't fit together (class 42)
 */
export async function handlePartitionBatch(
  run: ProjectionRun,
  right: WriteRight,
  share: PartitionBatch,
): Promise<void> {
  const { events } = share;
  if (events.length === 0) return writeCheckpoint(run.store.sql, run, right, share);
  const outcome = await tryBatch(run, right, share);
  if (outcome.ok) return;
  if (events.length === 1) return deadLetter(run, right, share, outcome.error);
  const firstHalf = events.slice(0, events.length / 2);
  const position = firstHalf.at(-1)?.position ?? share.position;
  await handlePartitionBatch(run, right, { ...share, events: firstHalf, position });
  if (run.signal.aborted) return;
  await handlePartitionBatch(run, right, { ...share, events: events.slice(firstHalf.length) });
}

async function deadLetter(run: ProjectionRun, right: WriteRight, share: PartitionBatch, error: unknown): Promise<void> {
  await inTransaction(run.store.sql, async (tx) => {
    await writeDeadLetters(tx, run, share.events, { attempts: run.maxAttempts, error: describeError(error) });
    await writeCheckpoint(tx, run, right, share);
  });
}

type BatchOutcome = { readonly ok: true } | { readonly ok: false; readonly error: unknown };

/** Commits a batch, in several attempts if it has one event, or if it fails over a conflict. */
async function tryBatch(run: ProjectionRun, right: WriteRight, share: PartitionBatch): Promise<BatchOutcome> {
  const endsRun = (error: unknown) => error instanceof LeaseLost || isSystemic(error);
  const shouldRetry = (error: unknown) => (share.events.length === 1 || isConflict(error)) && !endsRun(error);
  try {
    await retry(() => commitBatch(run, right, share), {
      pauseMs: (error, attempt) =>
        shouldRetry(error) && attempt < run.maxAttempts ? backoffMs(attempt, backoff) : undefined,
    });
    return { ok: true };
  } catch (error) {
    if (endsRun(error)) throw error;
    return { ok: false, error };
  }
}

/** One transaction: the events, and the checkpoint if the lease is still ours. */
async function commitBatch(run: ProjectionRun, right: WriteRight, share: PartitionBatch): Promise<void> {
  await inTransaction(run.store.sql, async (tx, state) => {
    const hasDeadLetters = await enterVersionSchema(tx, run, right.status);
    const events = hasDeadLetters ? await deadLetterFollowers(tx, run, share.events) : share.events;
    if (events.length > 0) await run.handle(events, tx);
    if (!state.isLost) await writeCheckpoint(tx, run, right, share);
  });
}

/** Sets aside what follows an event that was set aside. @returns the others */
async function deadLetterFollowers(
  tx: Sql,
  run: ProjectionRun,
  events: PartitionBatch["events"],
): Promise<PartitionBatch["events"]> {
  const parked = await findDeadLetteredStreams(tx, run, events);
  const followers = events.filter(({ streamId }) => parked.has(streamId));
  if (followers.length > 0) await writeDeadLetters(tx, run, followers, { attempts: 0, error: null });
  return events.filter(({ streamId }) => !parked.has(streamId));
}

/**
 * Writes a partition's checkpoint: the last statement of its transaction, since until it ends a new owner has to wait.
 *
 * @throws {LeaseLost} when the token is not the newest
 */
async function writeCheckpoint(
  sql: Sql,
  { name, version }: ProjectionRun,
  { token }: WriteRight,
  { partition, position }: PartitionBatch,
): Promise<void> {
  const { count } = await sql`
    update read_model.projection
    set checkpoint = ${position}, updated_at = clock_timestamp()
    where name = ${name} and version = ${version} and partition = ${partition} and token = ${token}`;
  if (count !== 1) throw new LeaseLost({ name, version });
}

/** Runs the projection's `refresh` with the same protection. */
export async function refreshProjection(run: ProjectionRun, { token, status }: WriteRight): Promise<void> {
  const { name, version, refresh } = run;
  if (refresh === undefined) return;
  await inTransaction(run.store.sql, async (tx) => {
    await enterVersionSchema(tx, run, status);
    await refresh(tx);
    const { count } = await tx`
      select from read_model.projection where name = ${name} and version = ${version} and token = ${token} for share`;
    if (count === 0) throw new LeaseLost(run);
  });
}

/**
 * The connection, a table or column that isn't there, a missing right: all events would be set aside. But a session that the
 * server ended since the handler did nothing in its transaction for too long (25P03) is the handler's doing.
 */
function isSystemic(error: unknown): boolean {
  return isMisfit(error) || (connectionFailure(error) !== undefined && errorCode(error) !== idleTimeout);
}
