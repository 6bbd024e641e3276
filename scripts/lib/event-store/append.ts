import { uuidv7 } from "uuidv7";
import type { Sql } from "../postgres/driver.ts";
import { isConflict, isServerUnavailable } from "../postgres/failure.ts";
import { backoffMs, retry } from "../retry.ts";
import { type Availability, reasonDetails, reasonText } from "./availability.ts";
import { checkAggregate } from "./check-aggregate.ts";
import { explainError, InvalidInput, refusalError } from "./errors.ts";
import type { Aggregate, DomainEvent, ExpectedVersion, NewEvent } from "./event.ts";
import { toJson } from "./json.ts";
import type { Logger } from "./logger.ts";
import { streamIdOf } from "./stream-id.ts";
import type { ItemOutcome, WorkQueue } from "./work-queue.ts";

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
  readonly transaction?: Pick<Sql, "unsafe">;
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
  /** Whether the same events were already stored, by an earlier attempt of this call or by an earlier call. */
  readonly isDuplicate: boolean;
}

/** The part of an event store that an append needs. */
export interface AppendTarget {
  /** @internal Appends that wait for their batch. */
  readonly appends: WorkQueue<string, AppendResult>;
}

interface AppendRow {
  readonly stream_id: string;
  readonly first_version: number;
  readonly last_version: number;
  readonly last_position: bigint;
  readonly deduplicated: boolean;
  readonly sqlstate: string | null;
  readonly detail: string | null;
  readonly message: string | null;
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
  const streamId = streamIdOf(checkAggregate(aggregate));
  const element = appendElement(streamId, aggregate, events, options.expectedVersion ?? "any");
  if (options.transaction === undefined) {
    return await store.appends.add(streamId, element, element.length, options.signal);
  }
  const [outcome] = await sendBatch(options.transaction, [element]);
  if (outcome === undefined) throw new Error("the server returned no result for the append");
  if (outcome.ok) return outcome.value;
  throw outcome.error;
}

const versionCodes = { any: -2, "no-stream": -1, exists: -4 } as const;

/** @returns an element of `event_store.append_batch`, as JSON */
function appendElement(
  streamId: string,
  aggregate: Aggregate,
  events: readonly NewEvent[],
  expected: ExpectedVersion,
): string {
  const { type, id } = aggregate;
  const expectedVersion = typeof expected === "number" ? checkVersion(expected) : versionCodes[expected];
  if (expectedVersion === undefined) {
    throw new InvalidInput(
      `${JSON.stringify(expected)} is not an expected version: pass "any", "no-stream", "exists" or an integer`,
      { aggregate },
    );
  }
  const list = events.map((event, index) => eventElement(event, index + 1)).join(",");
  return `{"stream_id":"${streamId}","aggregate_type":${JSON.stringify(type)},"aggregate_id":"${id}","expected_version":${expectedVersion},"events":[${list}]}`;
}

function checkVersion(version: number): number {
  if (Number.isInteger(version) && version >= 0 && version < 2 ** 31) return version;
  throw new InvalidInput(`${version} is not an expected version: it must be an integer from 0 to 2147483647`);
}

function eventElement(event: NewEvent, ordinal: number): string {
  const what = `event ${ordinal} (${event.type})`;
  const parts = [
    `"event_id":${toJson(event.id ?? uuidv7(), `id of ${what}`)}`,
    `"event_type":${toJson(event.type, `type of ${what}`)}`,
    `"event_data":${toJson(event.data, `data of ${what}`)}`,
  ];
  if (event.version !== undefined) parts.push(`"event_version":${toJson(event.version, `version of ${what}`)}`);
  if (event.metadata !== undefined) parts.push(`"metadata":${toJson(event.metadata, `metadata of ${what}`)}`);
  if (event.causationId !== undefined) {
    parts.push(`"causation_id":${toJson(event.causationId, `causation id of ${what}`)}`);
  }
  if (event.correlationId !== undefined) {
    parts.push(`"correlation_id":${toJson(event.correlationId, `correlation id of ${what}`)}`);
  }
  return `{${parts.join(",")}}`;
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
  elements: readonly string[],
): Promise<readonly ItemOutcome<AppendResult>[]> {
  const retries = store.availability.retries();
  const pauseMs = (error: unknown, attempt: number) => {
    if (!isTransient(error) || attempt >= maxAttempts) return undefined;
    if (isServerUnavailable(error)) retries.failed(error);
    const details = { appends: elements.length, ...reasonDetails(error) };
    store.logger.info(`retrying a batch of appends: ${reasonText(error)}`, details);
    return backoffMs(attempt, backoff);
  };
  try {
    const outcomes = await retry(() => sendBatch(store.sql, elements), { pauseMs });
    retries.succeeded();
    return outcomes;
  } catch (error) {
    if (elements.length > 1 && !isTransient(error)) return await deliverEach(store, elements);
    return elements.map(() => ({ ok: false, error: explainError(error) }));
  }
}

async function deliverEach(
  store: BatchTarget,
  elements: readonly string[],
): Promise<readonly ItemOutcome<AppendResult>[]> {
  const outcomes: ItemOutcome<AppendResult>[] = [];
  for (const element of elements) outcomes.push(...(await deliverBatch(store, [element])));
  return outcomes;
}

async function sendBatch(
  sql: Pick<Sql, "unsafe">,
  elements: readonly string[],
): Promise<readonly ItemOutcome<AppendResult>[]> {
  // Cast via text: the driver would JSON-encode a jsonb parameter a second time.
  const statement = "select * from event_store.append_batch($1::text::jsonb)";
  const rows = await sql.unsafe<AppendRow[]>(statement, [`[${elements.join(",")}]`], { prepare: true });
  return rows.map((row) => {
    if (row.sqlstate === null) return { ok: true, value: readResult(row) };
    const { sqlstate, message, detail } = row;
    return { ok: false, error: refusalError({ sqlstate, message: message ?? "", detail }) };
  });
}

function readResult(row: AppendRow): AppendResult {
  return {
    streamId: row.stream_id,
    firstVersion: row.first_version,
    lastVersion: row.last_version,
    lastPosition: row.last_position,
    isDuplicate: row.deduplicated,
  };
}

/** A conflict, or a server that is restarting or out of connections. */
function isTransient(error: unknown): boolean {
  return isConflict(error) || isServerUnavailable(error);
}
