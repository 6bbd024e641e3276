import { errorCode } from "../postgres/failure.ts";
import { checkAggregate, isUuid } from "./check-aggregate.ts";
import { checkOptions, isAnything, isText, isTransaction, isVersion, type OptionChecks } from "./check-options.ts";
import { EventStoreError, type EventStoreErrorDetail, InvalidInput } from "./errors.ts";
import type { Aggregate, CallerTransaction, EventMetadata } from "./event.ts";
import { type Row, selectRows } from "./event-rows.ts";
import { toJson } from "./json.ts";
import type { EventStore } from "./store.ts";
import { aggregateIdOf } from "./stream-id.ts";

/** What is known about the stream of an aggregate. */
export interface StreamInfo {
  readonly streamId: string;
  readonly aggregate: Aggregate;
  /** Version of the last event. */
  readonly version: number;
  /** Time of the first append. */
  readonly createdAt: Date;
  /** Time of the last event. */
  readonly updatedAt: Date;
  /** When the stream was closed to new events; null while it is open. */
  readonly archivedAt: Date | null;
}

/** How to ask about a stream, or to reopen it. */
export interface StreamOptions {
  /** The caller's transaction; @default a connection of the pool */
  readonly transaction?: CallerTransaction;
}

/** How to archive a stream. */
export interface ArchiveOptions extends StreamOptions {
  /** The version that the stream must have; @default any */
  readonly expectedVersion?: number | bigint;
}

/** Which event to redact, and how. */
export interface RedactOptions extends StreamOptions {
  /** The event's place in its stream, from 1. */
  readonly aggregateVersion: number | bigint;
  /** Stored with the redaction. */
  readonly reason: string;
  /** Replaces the data; @default {} */
  readonly data?: unknown;
  /** Replaces the metadata; @default none */
  readonly metadata?: EventMetadata | null;
}

const streamOptions: OptionChecks<StreamOptions> = { transaction: isTransaction };
const archiveOptions: OptionChecks<ArchiveOptions> = { ...streamOptions, expectedVersion: isVersion };
const redactOptions: OptionChecks<RedactOptions> = {
  ...streamOptions,
  aggregateVersion: isVersion,
  reason: isText,
  data: isAnything,
  metadata: isAnything,
};

/**
 * Returns what is known about the stream of an aggregate; undefined if the aggregate has no events.
 *
 * @throws {InvalidInput} if the aggregate or an option is invalid
 */
export async function streamInfo(
  store: EventStore,
  aggregate: Aggregate,
  options: StreamOptions = {},
): Promise<StreamInfo | undefined> {
  checkOptions(options, streamOptions, "streamInfo()");
  const named = checkAggregate(aggregate);
  const [row] = await selectForAggregate(options.transaction ?? store.sql, streamInfoStatement, named);
  return row === undefined ? undefined : readInfo(row, named);
}

const streamInfoStatement = `
  select stream_id, version, created_at, updated_at, archived_at, aggregate_key
  from event_store.stream_info($1, $2::uuid)`;

function readInfo(row: Row, { type, id }: Aggregate): StreamInfo {
  const [streamId, version, createdAt, updatedAt, archivedAt, key] = row as StreamRow;
  return { streamId, aggregate: { type, id: key ?? id }, version, createdAt, updatedAt, archivedAt };
}

type StreamRow = [string, number, Date, Date, Date | null, string | null];

/** Executes a statement whose first parameters are the type and the UUID of an aggregate; errors name it by its text. */
async function selectForAggregate(
  sql: CallerTransaction,
  statement: string,
  aggregate: Aggregate,
  parameters: readonly unknown[] = [],
): Promise<readonly Row[]> {
  const uuid = aggregateIdOf(aggregate.id);
  try {
    return await selectRows(sql, statement, [aggregate.type, uuid, ...parameters]);
  } catch (error) {
    if (!(error instanceof EventStoreError) || isUuid(aggregate.id)) throw error;
    const { code, expected, actual } = error;
    const Class = error.constructor as new (message: string, detail: EventStoreErrorDetail) => EventStoreError;
    throw new Class(
      error.message.replace(uuid, () => aggregate.id),
      { code, expected, actual, aggregate },
    );
  }
}

/**
 * Closes a stream to new events; it can still be read. Does nothing if it is closed.
 *
 * @returns the version of its last event
 * @throws {StreamNotFound} if it does not exist
 * @throws {VersionConflict} if it is not at the expected version
 */
export async function archiveStream(
  store: EventStore,
  aggregate: Aggregate,
  options: ArchiveOptions = {},
): Promise<number> {
  checkOptions(options, archiveOptions, "archiveStream()");
  const { transaction = store.sql, expectedVersion = null } = options;
  const statement = "select event_store.archive_stream($1, $2::uuid, $3::integer)";
  return readVersion(await selectForAggregate(transaction, statement, checkAggregate(aggregate), [expectedVersion]));
}

/**
 * Opens an archived stream to new events again. Does nothing if it is open.
 *
 * @returns the version of its last event
 * @throws {StreamNotFound} if it does not exist
 */
export async function reopenStream(
  store: EventStore,
  aggregate: Aggregate,
  options: StreamOptions = {},
): Promise<number> {
  checkOptions(options, streamOptions, "reopenStream()");
  const statement = "select event_store.reopen_stream($1, $2::uuid)";
  return readVersion(await selectForAggregate(options.transaction ?? store.sql, statement, checkAggregate(aggregate)));
}

function readVersion([row]: readonly Row[]): number {
  return row?.[0] as number;
}

/**
 * Replaces the data and metadata of one event that has to be erased or rectified, and records the redaction. The store
 * must be open with the administrator's login, or one that may execute `event_store.redact_event`.
 *
 * @throws {EventStoreError} with code 42501 if the login may not do that
 * @throws {StreamNotFound} if there is no such event
 * @throws {InvalidInput} if there is no reason, or the data cannot be stored
 */
export async function redactEvent(store: EventStore, aggregate: Aggregate, options: RedactOptions): Promise<void> {
  checkOptions(options, redactOptions, "redactEvent()");
  const { transaction = store.sql, aggregateVersion, reason, data = {}, metadata = null } = options;
  if (aggregateVersion === undefined) throw new InvalidInput("redactEvent() needs the aggregateVersion of the event");
  if (reason === undefined) throw new InvalidInput("redactEvent() needs a reason");
  const parameters = [aggregateVersion, reason, toJson(data, "data"), toJson(metadata, "metadata")];
  try {
    await selectForAggregate(transaction, redactStatement, checkAggregate(aggregate), parameters);
  } catch (error) {
    throw errorCode(error) === "42501" ? notAllowed(error as Error, aggregate) : error;
  }
}

const redactStatement = `
  select from event_store.redact_event($1, $2::uuid, $3::integer, $4, $5::text::jsonb, $6::text::jsonb)`;

function notAllowed({ message }: Error, aggregate: Aggregate): EventStoreError {
  const fix = 'grant "execute on function event_store.redact_event" to the one in use';
  return new EventStoreError(
    `this login may not redact events (${message}). Open the store with the administrator's login, or ${fix}`,
    { code: "42501", aggregate },
  );
}
