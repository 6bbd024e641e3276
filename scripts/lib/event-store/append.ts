import { isConflict, isServerUnavailable } from "../postgres/failure.ts";
import { backoffMs, retry } from "../retry.ts";
import { appendElement, eventIds } from "./append-element.ts";
import { type Availability, reasonDetails, reasonText } from "./availability.ts";
import { checkOptions, isAnything, isSignal, isTransaction, type OptionChecks } from "./check-options.ts";
import { describeError } from "./describe-error.ts";
import { explainError, refusalError } from "./errors.ts";
import type { Aggregate, CallerTransaction, DomainEvent, ExpectedVersion, NewEvent } from "./event.ts";
import type { Logger } from "./logger.ts";
import { identify } from "./stream-id.ts";
import { noteAppend } from "./transaction.ts";
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
  readonly appends: Pick<WorkQueue<PreparedAppend, AppendRow>, "add">;
  /** @internal Projections that handle events in the transaction of their append; undefined if there are none. */
  readonly inline: InlineAppends | undefined;
}

/** @internal Appends with projections that handle their events in the same transaction. */
export interface InlineAppends {
  /** Whether a projection handles an event of the append. */
  handles(append: PreparedAppend): boolean;
  /** Whether it is one of these projections. */
  includes(name: string, version: number): boolean;
  /** Appends in the caller's transaction. If that fails, nothing of it is left. */
  appendWithin(transaction: CallerTransaction, append: PreparedAppend): Promise<readonly ItemOutcome<AppendRow>[]>;
}

/** @internal The code of an inline projection failed: carries what it threw, whatever that is. */
export class InlineFailure extends Error {
  readonly reason: unknown;
  /** Whether the server ended the transaction because of a race, so that a retry may succeed. */
  readonly isConflict: boolean;

  constructor(reason: unknown, isConflict = false) {
    super(describeError(reason));
    this.reason = reason;
    this.isConflict = isConflict;
  }
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
  readonly aggregate: Aggregate;
  readonly events: readonly NewEvent[];
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
  const identity = identify(aggregate);
  const ids = eventIds(events);
  const element = appendElement({ identity, aggregate, events, ids, expectedVersion });
  return { streamId: identity.streamId, aggregate, events, ids, element };
}

/** @internal Sends an append with the next batch, or in the caller's transaction. */
export function sendAppend(
  { appends, inline }: AppendTarget,
  append: PreparedAppend,
  { signal, transaction }: Pick<AppendOptions, "signal" | "transaction">,
): Promise<AppendRow> {
  const isHandled = inline?.handles(append) === true;
  const sent = isHandled ? copyAppend(append) : append;
  if (transaction === undefined) return appends.add(sent.streamId, sent, sent.element.length, signal);
  noteAppend(transaction);
  const send = () => (isHandled ? inline.appendWithin(transaction, sent) : sendBatch(transaction, [sent]));
  return appendWithin(inline === undefined ? send : () => inTurn(transaction, send), signal);
}

/** When the last append of each transaction has ended. */
const lastAppends = new WeakMap<CallerTransaction, Promise<unknown>>();

/**
 * Sends the appends of one transaction one after the other: if a projection fails, the savepoint is rolled back, and with
 * it all that was sent since it began.
 */
function inTurn<Result>(transaction: CallerTransaction, send: () => Promise<Result>): Promise<Result> {
  const sent = (lastAppends.get(transaction) ?? Promise.resolve()).then(send);
  lastAppends.set(
    transaction,
    sent.catch(() => undefined),
  );
  return sent;
}

/** The caller may change what it has passed before a projection gets it. */
function copyAppend({ events, aggregate, ...append }: PreparedAppend): PreparedAppend {
  return { ...append, aggregate: { type: aggregate.type, id: aggregate.id }, events: events.map(copyEvent) };
}

/** Names the properties: those of a class may be getters, which are no own properties. */
function copyEvent({ type, data, version, metadata, causationId, correlationId }: NewEvent): NewEvent {
  return JSON.parse(JSON.stringify({ type, data, version, metadata, causationId, correlationId }));
}

async function appendWithin(
  send: () => Promise<readonly ItemOutcome<AppendRow>[]>,
  signal: AbortSignal | undefined,
): Promise<AppendRow> {
  signal?.throwIfAborted();
  const sent = send();
  const [outcome] = await (signal === undefined ? sent : untilAborted(sent, signal, outcomeGraceMs));
  if (outcome === undefined) throw new Error("the server returned no result for the append");
  if (outcome.ok) return outcome.value;
  throw outcome.error;
}

/** With the backoff, about 3.5 seconds of retries: enough for a server to restart. */
const maxAttempts = 16;
/** Of a batch in which a projection conflicts with other transactions: the halves may conflict less. */
const maxInlineAttempts = 4;
const backoff = { firstMs: 5, maxMs: 500 };

/** What sends a batch, and where its retries are reported. */
interface BatchTarget {
  readonly send: (appends: readonly PreparedAppend[]) => Promise<readonly ItemOutcome<AppendRow>[]>;
  readonly logger: Logger;
  readonly availability: Availability;
}

/**
 * Sends appends as one batch and retries transient failures.
 *
 * If the batch fails as a whole, for example because of text that jsonb cannot store, or in a projection, it is halved
 * until the append that fails is alone.
 */
export async function deliverBatch(
  store: BatchTarget,
  appends: readonly PreparedAppend[],
): Promise<readonly ItemOutcome<AppendRow>[]> {
  const retries = store.availability.retries();
  const pauseMs = (error: unknown, attempt: number) => {
    if (!isTransient(error) || attempt >= (canHalve(appends, error) ? maxInlineAttempts : maxAttempts))
      return undefined;
    if (isServerUnavailable(error)) retries.failed(error);
    const details = { appends: appends.length, ...reasonDetails(error) };
    store.logger.info(`retrying a batch of appends: ${reasonText(error)}`, details);
    return backoffMs(attempt, backoff);
  };
  try {
    const outcomes = await retry(() => store.send(appends), { pauseMs });
    retries.succeeded();
    return outcomes;
  } catch (error) {
    if (canHalve(appends, error)) return await deliverHalves(store, appends);
    const reason = error instanceof InlineFailure ? error.reason : explainError(error);
    return appends.map(() => ({ ok: false, error: reason }));
  }
}

/** Whether a part of the batch may succeed. */
function canHalve(appends: readonly PreparedAppend[], error: unknown): boolean {
  return appends.length > 1 && (error instanceof InlineFailure || !isTransient(error));
}

async function deliverHalves(
  store: BatchTarget,
  appends: readonly PreparedAppend[],
): Promise<readonly ItemOutcome<AppendRow>[]> {
  const middle = Math.ceil(appends.length / 2);
  const first = await deliverBatch(store, appends.slice(0, middle));
  return [...first, ...(await deliverBatch(store, appends.slice(middle)))];
}

// Cast via text: the driver would JSON-encode a jsonb parameter a second time.
const appendStatement = "select * from event_store.append_batch($1::text::jsonb)";
const timedAppendStatement = appendStatement.replace("*", "*, now()");

/** @internal Sends appends as one batch, without retries. */
export async function sendBatch(
  sql: CallerTransaction,
  appends: readonly PreparedAppend[],
  isTimed = appends.some((append) => append.isTimed),
): Promise<readonly ItemOutcome<AppendRow>[]> {
  const statement = isTimed ? timedAppendStatement : appendStatement;
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
  if (error instanceof InlineFailure) return error.isConflict;
  return isConflict(error) || isServerUnavailable(error);
}
