import type { Sql } from "../../postgres/driver.ts";
import { connectionFailure, errorCode, isConflict, isMisfit } from "../../postgres/failure.ts";
import { inTransaction } from "../../postgres/transaction.ts";
import { backoffMs, retry } from "../../retry.ts";
import type { RecordedEvent } from "../event.ts";
import { describeError, findDeadLetteredStreams, writeDeadLetters } from "./dead-letters.ts";
import { enterVersionSchema, LeaseLost, type ProjectionRun } from "./definition.ts";
import type { Lease } from "./lease.ts";

/** `idle_in_transaction_session_timeout` */
const idleTimeout = "25P03";

const backoff = { firstMs: 5, maxMs: 1_000 };

/** The events of one page that belong to one partition. */
export interface PartitionBatch {
  readonly partition: number;
  readonly events: readonly RecordedEvent[];
  /** The partition's checkpoint once the events are handled. */
  readonly position: bigint;
}

/** The part of a lease that writes need. */
export type WriteLease = Pick<Lease, "token" | "status">;

/**
 * Handles a batch, or turns what it cannot handle into dead letters. When it returns, the checkpoint is written.
 *
 * A batch that fails because of a conflict is retried unchanged. If it fails for another reason, it is halved
 * repeatedly until the failing event is alone.
 *
 * @throws {LeaseLost} if another owner has taken over
 * @throws the connection's error if the server is unreachable, or the server's if a statement does not match the
 * database (SQLSTATE class 42)
 */
export async function handlePartitionBatch(
  run: ProjectionRun,
  lease: WriteLease,
  batch: PartitionBatch,
): Promise<void> {
  const { events } = batch;
  if (events.length === 0) return writeCheckpoint(run.store.sql, run, lease, batch);
  const outcome = await tryBatch(run, lease, batch);
  if (outcome.ok) return;
  if (events.length === 1) return deadLetterBatch(run, lease, batch, outcome.error);
  const firstHalf = events.slice(0, events.length / 2);
  const position = firstHalf.at(-1)?.position ?? batch.position;
  await handlePartitionBatch(run, lease, { ...batch, events: firstHalf, position });
  if (run.signal.aborted) return;
  await handlePartitionBatch(run, lease, { ...batch, events: events.slice(firstHalf.length) });
}

async function deadLetterBatch(
  run: ProjectionRun,
  lease: WriteLease,
  batch: PartitionBatch,
  error: unknown,
): Promise<void> {
  await inTransaction(run.store.sql, async (tx) => {
    await writeDeadLetters(tx, run, batch.events, { attempts: run.maxAttempts, error: describeError(error) });
    await writeCheckpoint(tx, run, lease, batch);
  });
}

type BatchOutcome = { readonly ok: true } | { readonly ok: false; readonly error: unknown };

/** Commits a batch. Retries it if it has one event, or if it fails because of a conflict. */
async function tryBatch(run: ProjectionRun, lease: WriteLease, batch: PartitionBatch): Promise<BatchOutcome> {
  const shouldEndRun = (error: unknown) => run.abandoned.aborted || error instanceof LeaseLost || isSystemic(error);
  const shouldRetry = (error: unknown) => (batch.events.length === 1 || isConflict(error)) && !shouldEndRun(error);
  try {
    await retry(() => commitBatch(run, lease, batch), {
      pauseMs: (error, attempt) =>
        shouldRetry(error) && attempt < run.maxAttempts ? backoffMs(attempt, backoff) : undefined,
    });
    return { ok: true };
  } catch (error) {
    if (shouldEndRun(error)) throw error;
    return { ok: false, error };
  }
}

/** Handles the events and writes the checkpoint in one transaction, which commits only while the lease is held. */
async function commitBatch(run: ProjectionRun, lease: WriteLease, batch: PartitionBatch): Promise<void> {
  await inTransaction(run.store.sql, async (tx) => {
    const hasDeadLetters = await enterVersionSchema(tx, run, lease.status);
    run.abandoned.throwIfAborted();
    const events = hasDeadLetters ? await deadLetterFollowers(tx, run, batch.events) : batch.events;
    if (events.length > 0) await run.handle(events, tx);
    run.abandoned.throwIfAborted();
    await writeCheckpoint(tx, run, lease, batch);
  });
}

/** Turns the events of streams that have dead letters into dead letters too. @returns the other events */
async function deadLetterFollowers(
  tx: Sql,
  run: ProjectionRun,
  events: PartitionBatch["events"],
): Promise<PartitionBatch["events"]> {
  const streams = await findDeadLetteredStreams(tx, run, events);
  const followers = events.filter(({ streamId }) => streams.has(streamId));
  if (followers.length > 0) await writeDeadLetters(tx, run, followers, { attempts: 0, error: null });
  return events.filter(({ streamId }) => !streams.has(streamId));
}

/**
 * Writes a partition's checkpoint. It is the last statement of its transaction, because it locks a row that the next
 * owner of the lease waits for.
 *
 * @throws {LeaseLost} if the token is not the newest
 */
async function writeCheckpoint(
  sql: Sql,
  { name, version }: ProjectionRun,
  { token }: WriteLease,
  { partition, position }: PartitionBatch,
): Promise<void> {
  const { count } = await sql`
    update read_model.projection
    set checkpoint = ${position}, updated_at = clock_timestamp()
    where name = ${name} and version = ${version} and partition = ${partition} and token = ${token}`;
  if (count !== 1) throw new LeaseLost({ name, version });
}

/** Runs the projection's `refresh`, which commits only while the lease is held. */
export async function refreshProjection(run: ProjectionRun, { token, status }: WriteLease): Promise<void> {
  const { name, version, refresh } = run;
  if (refresh === undefined) return;
  await inTransaction(run.store.sql, async (tx) => {
    await enterVersionSchema(tx, run, status);
    run.abandoned.throwIfAborted();
    await refresh(tx);
    run.abandoned.throwIfAborted();
    const { count } = await tx`
      select from read_model.projection where name = ${name} and version = ${version} and token = ${token} for share`;
    if (count === 0) throw new LeaseLost(run);
  });
}

/**
 * Whether an error would hit every event: a lost connection, a missing table, column or privilege. It must end the run,
 * or all events would become dead letters. But if the server ended the session because the handler left its transaction
 * idle for too long (25P03), the handler is the cause.
 */
function isSystemic(error: unknown): boolean {
  return isMisfit(error) || (connectionFailure(error) !== undefined && errorCode(error) !== idleTimeout);
}
