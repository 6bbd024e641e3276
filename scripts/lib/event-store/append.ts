import type { Sql } from "../postgres/driver.ts";
import { isConflict, isServerUnavailable } from "../postgres/failure.ts";
import { backoffMs, retry } from "../retry.ts";
import { appendElement, eventIds } from "./append-element.ts";
import { type Availability, reasonDetails, reasonText } from "./availability.ts";
import { checkOptions, isAnything, isSignal, isTransaction, type OptionChecks } from "./check-options.ts";
import { explainError, refusalError } from "./errors.ts";
import type { Aggregate, CallerTransaction, DomainEvent, ExpectedVersion, NewEvent } from "./event.ts";
import type { Logger } from "./logger.ts";
import { streamIdOf } from "./stream-id.ts";
import { untilAborted } from "./waiting.ts";
import { type ItemOutcome, outcomeGraceMs, type WorkQueue } from "./work-queue.ts";

/** How to append. */
export interface AppendOptions {
  /** The version that the stream must have; @default "any" */
  readonly expectedVersion?: ExpectedVersion;
  /**
   * Cancels the append if it has not been sent yet. Otherwise the call waits one more second for the answer; if there
   * is none, it rejects with the signal's reason, and the events may still be stored.
   */
  readonly signal?: AbortSignal;
  /** The caller's transaction to append in, without batching or retries. */
  readonly transaction?: CallerTransaction;
}

const appendOptions: OptionChecks<AppendOptions> = {
  expectedVersion: isAnything,
  signal: isSignal,
  transaction: isTransaction,
};

/** Where one event was stored. */
export interface AppendedEvent {
  readonly id: string;
  /** Version of the aggregate after the event. */
  readonly aggregateVersion: number;
  /** Position in the log. Those of one append increase, with gaps if others append at the same time. */
  readonly position: bigint;
}

/** Where the events were stored. */
export interface AppendResult {
  readonly streamId: string;
  /** Version of the aggregate after the first event. */
  readonly firstVersion: number;
  /** Version of the aggregate after the last event. */
  readonly lastVersion: number;
  /** Position of the last event in the log. */
  readonly lastPosition: bigint;
  /** Where each event is, in the given order. */
  readonly events: readonly AppendedEvent[];
  /** Whether the same events were already stored, by an earlier attempt of this call or by an earlier call. */
  readonly isDuplicate: boolean;
}

/** The part of an event store that an append needs. */
export interface AppendTarget {
  /** @internal Appends that wait for their batch. */
  readonly appends: WorkQueue<PreparedAppend, AppendRow>;
}

/** @internal A row of `event_store.append_batch`. */
export interface AppendRow {
  readonly stream_id: string;
  readonly first_version: number;
  readonly last_version: number;
  readonly last_position: bigint;
  readonly deduplicated: boolean;
  readonly sqlstate: string | null;
  readonly detail: string | null;
  readonly message: string | null;
  /** The position of each event, as the text of an array. */
  readonly positions: string;
  /** Start of the transaction, which is the time of the events unless they are duplicates. Only if it was asked for. */
  readonly now?: Date;
}

/**
 * Appends events to the stream of an aggregate: all of them at the next versions, or none.
 *
 * Calls made while another is in flight are sent together, in one statement and one commit. Each has its own outcome,
 * and calls for one aggregate keep their order. Transient failures, such as a lost connection, are retried. Retries are
 * idempotent, because every event has an id.
 *
 * @throws {VersionConflict} if the stream is at another version; `StreamExists` and `StreamNotFound` are subclasses
 * @throws {DuplicateEvent} if an event id is taken
 * @throws {StreamArchived} if the stream is archived
 * @throws {InvalidInput} if the events cannot be stored; most of that is checked before anything is sent
 */
export async function appendEvents<Event extends DomainEvent>(
  store: AppendTarget,
  aggregate: Aggregate,
  events: readonly NewEvent<Event>[],
  options: AppendOptions = {},
): Promise<AppendResult> {
  checkOptions(options, appendOptions, "appendEvents()");
  const append = prepareAppend(
    aggregate,
    events,
    options.expectedVersion === undefined ? "any" : options.expectedVersion,
  );
  return readResult(await sendAppend(store, append, options), append.ids);
}

/** @internal An append that can be sent. */
export interface PreparedAppend {
  readonly streamId: string;
  readonly ids: readonly string[];
  /** The element of `event_store.append_batch`. */
  readonly element: string;
  /** Whether the time is asked for; it costs the server about 1 % of an append. */
  readonly isTimed?: boolean;
}

/** @internal */
export function prepareAppend(
  aggregate: Aggregate,
  events: readonly NewEvent[],
  expectedVersion: ExpectedVersion,
): PreparedAppend {
  const streamId = streamIdOf(aggregate);
  const ids = eventIds(events);
  return { streamId, ids, element: appendElement({ streamId, aggregate, events, ids, expectedVersion }) };
}

/** @internal Sends an append with the next batch, or in the caller's transaction. */
export function sendAppend(
  { appends }: AppendTarget,
  append: PreparedAppend,
  { signal, transaction }: Pick<AppendOptions, "signal" | "transaction">,
): Promise<AppendRow> {
  return transaction === undefined
    ? appends.add(append.streamId, append, append.element.length, signal)
    : appendWithin(transaction, append, signal);
}

async function appendWithin(
  transaction: CallerTransaction,
  append: PreparedAppend,
  signal: AbortSignal | undefined,
): Promise<AppendRow> {
  signal?.throwIfAborted();
  const sent = sendBatch(transaction, [append]);
  const [outcome] = await (signal === undefined ? sent : untilAborted(sent, signal, outcomeGraceMs));
  if (outcome === undefined) throw new Error("the server returned no result for the append");
  if (outcome.ok) return outcome.value;
  throw outcome.error;
}

/** With the backoff, about 3.5 seconds of retries: enough for a server to restart. */
const maxAttempts = 16;
const backoff = { firstMs: 5, maxMs: 500 };

/** What a batch is sent with, and where its retries are reported. */
interface BatchTarget {
  readonly sql: Sql;
  readonly logger: Logger;
  readonly availability: Availability;
}

/**
 * Sends appends as one batch and retries transient failures.
 *
 * If the server rejects the batch as a whole, for example because of text that jsonb cannot store, each append is sent
 * separately, so that only the bad one fails.
 */
export async function deliverBatch(
  store: BatchTarget,
  appends: readonly PreparedAppend[],
): Promise<readonly ItemOutcome<AppendRow>[]> {
  const retries = store.availability.retries();
  const pauseMs = (error: unknown, attempt: number) => {
    if (!isTransient(error) || attempt >= maxAttempts) return undefined;
    if (isServerUnavailable(error)) retries.failed(error);
    const details = { appends: appends.length, ...reasonDetails(error) };
    store.logger.info(`retrying a batch of appends: ${reasonText(error)}`, details);
    return backoffMs(attempt, backoff);
  };
  try {
    const outcomes = await retry(() => sendBatch(store.sql, appends), { pauseMs });
    retries.succeeded();
    return outcomes;
  } catch (error) {
    if (appends.length > 1 && !isTransient(error)) return await deliverEach(store, appends);
    return appends.map(() => ({ ok: false, error: explainError(error) }));
  }
}

async function deliverEach(
  store: BatchTarget,
  appends: readonly PreparedAppend[],
): Promise<readonly ItemOutcome<AppendRow>[]> {
  const outcomes: ItemOutcome<AppendRow>[] = [];
  for (const append of appends) outcomes.push(...(await deliverBatch(store, [append])));
  return outcomes;
}

// Cast via text: the driver would JSON-encode a jsonb parameter a second time.
const appendStatement = "select * from event_store.append_batch($1::text::jsonb)";
const timedAppendStatement = appendStatement.replace("*", "*, now()");

async function sendBatch(
  sql: CallerTransaction,
  appends: readonly PreparedAppend[],
): Promise<readonly ItemOutcome<AppendRow>[]> {
  const statement = appends.some(({ isTimed }) => isTimed) ? timedAppendStatement : appendStatement;
  const elements = appends.map(({ element }) => element).join(",");
  const rows = await sql.unsafe<AppendRow[]>(statement, [`[${elements}]`], { prepare: true });
  return rows.map((row) => {
    if (row.sqlstate === null) return { ok: true, value: row };
    const { sqlstate, message, detail } = row;
    return { ok: false, error: refusalError({ sqlstate, message: message ?? "", detail }) };
  });
}

/** @internal */
export function readResult(row: AppendRow, ids: readonly string[]): AppendResult {
  return {
    streamId: row.stream_id,
    firstVersion: row.first_version,
    lastVersion: row.last_version,
    lastPosition: row.last_position,
    events: readEvents(row, ids),
    isDuplicate: row.deduplicated,
  };
}

function readEvents({ first_version, last_position, positions }: AppendRow, ids: readonly string[]): AppendedEvent[] {
  const [id = ""] = ids;
  if (ids.length === 1) return [{ id, aggregateVersion: first_version, position: last_position }];
  const texts = positions.slice(1, -1).split(",");
  return ids.map((id, index) => ({
    id,
    aggregateVersion: first_version + index,
    position: BigInt(texts[index] as string),
  }));
}

/** A conflict, or a server that is restarting or out of connections. */
function isTransient(error: unknown): boolean {
  return isConflict(error) || isServerUnavailable(error);
}
