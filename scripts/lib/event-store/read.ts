import { checkAggregate } from "./check-aggregate.ts";
import {
  checkOptions,
  isCount,
  isFlag,
  isText,
  isTextList,
  isTime,
  isTransaction,
  isVersion,
  type OptionChecks,
} from "./check-options.ts";
import { checkpointPlace, logStart } from "./checkpoint.ts";
import { explainError } from "./errors.ts";
import type { Aggregate, CallerTransaction, Checkpoint, DomainEvent, EventMetadata, RecordedEvent } from "./event.ts";
import { dataColumn, fillLargeEvents, largeDataStatement, largeSizeColumn } from "./large-events.ts";
import type { LogPlace } from "./log-place.ts";
import type { EventStore } from "./store.ts";
import { streamIdOf } from "./stream-id.ts";
import { type Upcasters, upcast } from "./upcast.ts";
import { answerUntilAborted } from "./waiting.ts";

const defaultPageSize = 1_000;

/** Which events of a stream to read. */
export interface ReadStreamOptions {
  /** Start above this version, or below it if reading backwards; @default the beginning, or the end */
  readonly afterVersion?: number | bigint;
  /** Up to this version, inclusive. */
  readonly upToVersion?: number | bigint;
  /** Up to this time, inclusive; a `Date` includes the whole millisecond. */
  readonly upToTime?: Date;
  /** Newest event first; @default false */
  readonly backwards?: boolean;
  /** @default all */
  readonly maxCount?: number;
  /** How many events to fetch at a time; @default 1000 */
  readonly pageSize?: number;
  /** The caller's transaction to read in, on its connection; @default a connection of the pool */
  readonly transaction?: CallerTransaction;
}

const readStreamOptions: OptionChecks<ReadStreamOptions> = {
  afterVersion: isVersion,
  upToVersion: isVersion,
  upToTime: isTime,
  backwards: isFlag,
  maxCount: isCount(1),
  pageSize: isCount(1),
  transaction: isTransaction,
};

/** Which events of the log to read. */
export interface LogFilter {
  /** @default all */
  readonly eventTypes?: readonly string[];
  /** @default all. No index supports this filter alone: filter by event types as well if you can. */
  readonly aggregateTypes?: readonly string[];
}

/** How to read the log. */
export interface ReadAllOptions extends LogFilter {
  /** @default the beginning */
  readonly after?: Checkpoint;
  /** How many events to fetch at a time; @default 1000 */
  readonly pageSize?: number;
  /**
   * The caller's transaction to read in, on its connection; it must be READ COMMITTED. It does not see the events that
   * it has appended itself. @default connections of the pool
   */
  readonly transaction?: CallerTransaction;
}

const readAllOptions: OptionChecks<ReadAllOptions> = {
  after: isText,
  eventTypes: isTextList,
  aggregateTypes: isTextList,
  pageSize: isCount(1),
  transaction: isTransaction,
};

/** A page of the log. */
export interface LogPage {
  readonly events: readonly RecordedEvent[];
  /** Where to resume once the events are handled. */
  readonly place: LogPlace;
  /** Whether the log was complete only up to that place when the page was read. */
  readonly isAtEnd: boolean;
  /** Whether it ends before its last event, because its events are large. */
  readonly isCut: boolean;
}

/**
 * Reads the events of an aggregate in the order of their versions, or backwards. An unknown aggregate has none.
 *
 * While the caller handles one page, the next one is fetched, but no more.
 *
 * @throws {InvalidInput} if the aggregate's id is not a UUID, or an option is invalid
 */
export async function* readStream<Event extends DomainEvent = DomainEvent>(
  store: EventStore,
  aggregate: Aggregate,
  options: ReadStreamOptions = {},
): AsyncGenerator<RecordedEvent<Event>, void, void> {
  checkOptions(options, readStreamOptions, "readStream()");
  const pageSize = options.pageSize ?? defaultPageSize;
  const backwards = options.backwards ?? false;
  let remaining = options.maxCount ?? Number.POSITIVE_INFINITY;
  const fetch = (after: number | bigint | null) =>
    prefetched(
      readStreamPage(store, aggregate, { ...options, backwards, after, maxCount: Math.min(remaining, pageSize) }),
    );
  let page = fetch(options.afterVersion ?? (backwards ? null : 0));
  while (remaining > 0) {
    const { events, isCut } = await page;
    const isLast = !isCut && events.length < pageSize;
    remaining -= events.length;
    if (!isLast && remaining > 0) page = fetch(events.at(-1)?.aggregateVersion ?? 0);
    yield* events as RecordedEvent<Event>[];
    if (isLast) return;
  }
}

/**
 * Reads the log of all streams from a checkpoint up to where it is complete, in the order of positions.
 *
 * Concurrent appends never make it lose or repeat an event. While the caller handles one page, up to two more are
 * fetched.
 *
 * @throws {InvalidInput} if the checkpoint is malformed, or an option is invalid
 * @throws {LogRewound} if the log is no longer the one in which the checkpoint was made
 */
export async function* readAll<Event extends DomainEvent = DomainEvent>(
  store: EventStore,
  options: ReadAllOptions = {},
): AsyncGenerator<RecordedEvent<Event>, void, void> {
  checkOptions(options, readAllOptions, "readAll()");
  const { transaction, pageSize: maxCount = defaultPageSize, ...filter } = options;
  const pages = readPages(transaction ?? store.sql, {
    ...filter,
    after: checkpointPlace(options.after ?? logStart),
    isKeptOutside: true,
    maxCount,
    upcasters: store.upcasters,
  });
  for await (const { events } of pages) yield* events as readonly RecordedEvent<Event>[];
}

/**
 * Reads the log page by page up to where it is complete; the last page is at its end. Subscriptions and projections are
 * built on it. While the caller handles one page, up to two more are fetched.
 *
 * Usually the next page can be requested only once the current one has arrived. If there is no filter and the log has
 * no wide gaps, pages are ranges of positions instead, so that two can be in flight on two connections.
 */
export async function* readPages(sql: CallerTransaction, options: ReadLogOptions): AsyncGenerator<LogPage, void, void> {
  const width = BigInt(options.maxCount);
  const isFiltered = options.eventTypes !== undefined || options.aggregateTypes !== undefined;
  const fetch = (after: LogPlace, range?: PositionRange) =>
    prefetched(readLog(sql, { ...options, after, ...(range === undefined ? {} : { range }) }));
  let place = options.after;
  let next = fetch(place);
  let nextEnd: bigint | undefined;
  for (;;) {
    const ahead = nextEnd === undefined ? undefined : fetch(place, { above: nextEnd, upTo: nextEnd + width });
    const page = await next;
    // A page fetched ahead does not check the place right before it; the fetch after it does. Without that check, a reader
    // whose last page was lost in a crash would go on with events that were appended since.
    if (page.isAtEnd) await ahead;
    // A range without events is left at the place before it.
    if (page.place.position >= place.position) place = page.place;
    if (!page.isAtEnd) {
      // After a page that was cut, the one ahead would leave a gap.
      const isDense = !isFiltered && !page.isCut && page.events.length * 2 > options.maxCount;
      const start = nextEnd ?? place.position;
      nextEnd = isDense ? start + width : undefined;
      const range = nextEnd === undefined ? undefined : { above: start, upTo: nextEnd };
      next = (isDense ? ahead : undefined) ?? fetch(place, range);
    }
    yield { ...page, place };
    if (page.isAtEnd) return;
  }
}

interface PositionRange {
  readonly above: bigint;
  readonly upTo: bigint;
}

/** How to read one page of the log. */
export interface ReadLogOptions extends LogFilter {
  /** The reader's checkpoint. */
  readonly after: LogPlace;
  /** Whether the checkpoint is kept outside the database: if the log is rewound, it is not, so it must be checked. */
  readonly isKeptOutside: boolean;
  readonly maxCount: number;
  /** Read these positions, which are at most `maxCount`, and not those after the checkpoint. */
  readonly range?: PositionRange;
  readonly upcasters: Upcasters;
  /** Abandons the statement. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads one page of the log.
 *
 * This is one statement, but it determines the end of the log before `read_all` takes its snapshot. If it returns fewer
 * events than requested, there are no others up to that end, and the reader resumes there.
 *
 * @param sql a pool, or a transaction in READ COMMITTED
 */
export async function readLog(sql: CallerTransaction, options: ReadLogOptions): Promise<LogPage> {
  const { after, isKeptOutside, maxCount, range, eventTypes, aggregateTypes, upcasters } = options;
  const parameters = [
    `${range?.above ?? after.position}`,
    maxCount,
    textArray(eventTypes),
    textArray(aggregateTypes),
    range === undefined ? null : `${range.upTo}`,
    isKeptOutside ? `${after.position}` : null,
    after.eventId,
    after.epochId,
  ];
  const [first, ...rows] = await selectRows(sql, readLogStatement, parameters, options.signal);
  const end = endOfLog(first as Row);
  const { epochId } = end;
  const complete = await completeRows(sql, rows, options.signal);
  const events = complete.map((row) => recordedEvent(row, { ...rowStream(row), epochId }, upcasters));
  const isCut = complete.length < rows.length;
  const isAtEnd = !isCut && (range === undefined ? events.length < maxCount : end.position <= range.upTo);
  return { events, place: isAtEnd ? furthest(after, end) : placeAfter(events.at(-1), after), isAtEnd, isCut };
}

/** The first row has them in the columns of an event, so that the other rows need no columns more. */
function endOfLog(row: Row): LogPlace {
  return {
    position: row[0] as bigint,
    eventId: row[2] as string | null,
    epochId: row[eventColumnCount] as string | null,
  };
}

/** The end may be lower than one returned earlier, which remains valid. */
function furthest(after: LogPlace, end: LogPlace): LogPlace {
  return end.position > after.position ? end : { ...after, epochId: end.epochId };
}

function placeAfter(event: RecordedEvent | undefined, after: LogPlace): LogPlace {
  return event === undefined ? after : { position: event.position, eventId: event.id, epochId: event.epochId };
}

/** In the order of `recordedEvent`. */
const eventColumns = [
  "global_position",
  "aggregate_version",
  "event_id",
  "event_type",
  "event_version",
  dataColumn,
  "metadata",
  "causation_id",
  "correlation_id",
  "occurred_at",
  largeSizeColumn,
].map((column) => (/\W/.test(column) ? column : `event.${column}`));
const eventColumnCount = eventColumns.length;
const [dataIndex, largeSizeIndex] = [eventColumns.indexOf(dataColumn), eventColumns.indexOf(largeSizeColumn)];

// A range that is fetched ahead may begin beyond the end of the log, where read_all would refuse to start.
const readLogStatement = `
  with log as materialized (select * from event_store.resume_log($6::bigint, $7::uuid, $8::uuid))
  select
    safe_position, null, safe_event_id, null, null, null, null, null, null, null, null, current_epoch_id, null, null
  from log
  union all
  select ${eventColumns.join(", ")}, event.stream_id, event.aggregate_type, event.aggregate_id
  from event_store.read_all(
    least($1::bigint, case when $5::bigint is not null then (select safe_position from log) end),
    $2::integer, $3::text::text[], $4::text::text[], least((select safe_position from log), $5::bigint)
  ) as event`;

// Omits the columns that are the same for the whole stream: reading three columns fewer saves a fifth of the time.
const readStreamStatement = `
  select ${eventColumns.join(", ")}
  from event_store.read_stream($1, $2::uuid, $3::integer, $4::integer, $5::boolean, $6::integer) as event`;

// The driver would round a text to milliseconds before it sends it as a timestamptz.
const readStreamUpToTimeStatement = readStreamStatement.replace("$6::integer", "$&, to_timestamp($7::float8)");

interface StreamPageOptions extends ReadStreamOptions {
  readonly after: number | bigint | null;
  readonly backwards: boolean;
  readonly maxCount: number;
}

async function readStreamPage(store: EventStore, aggregate: Aggregate, options: StreamPageOptions) {
  const { after, maxCount, backwards, upToVersion = null, upToTime, transaction = store.sql } = options;
  const { type, id } = checkAggregate(aggregate);
  const parameters = [type, id, after, maxCount, backwards, upToVersion];
  const rows = await (upToTime === undefined
    ? selectRows(transaction, readStreamStatement, parameters)
    : selectRows(transaction, readStreamUpToTimeStatement, [...parameters, endOfMillisecond(upToTime)]));
  const stream = { streamId: streamIdOf(aggregate), aggregate: { type, id: id.toLowerCase() }, epochId: null };
  const complete = await completeRows(transaction, rows);
  const events = complete.map((row) => recordedEvent(row, stream, store.upcasters));
  return { events, isCut: complete.length < rows.length };
}

/** Times are stored with microseconds, but a `Date` that was read has none. @returns seconds since 1970 */
function endOfMillisecond(time: Date): number {
  return (time.getTime() + 0.999) / 1_000;
}

type Row = readonly unknown[];

async function selectRows(
  sql: CallerTransaction,
  statement: string,
  parameters: readonly unknown[],
  signal?: AbortSignal,
): Promise<readonly Row[]> {
  try {
    // Rows as arrays, because row objects would only be taken apart again.
    return await answerUntilAborted(sql.unsafe(statement, parameters as never[], { prepare: true }).values(), signal);
  } catch (error) {
    throw explainError(error);
  }
}

/**
 * Fetches the data of large events.
 *
 * @returns the rows whose data is complete: all, or those before a large event that would exceed the size of a page
 */
async function completeRows(
  sql: CallerTransaction,
  rows: readonly Row[],
  signal?: AbortSignal,
): Promise<readonly Row[]> {
  const large = rows.filter((row) => row[largeSizeIndex] !== null);
  if (large.length === 0) return rows;
  const events = large.map((row) => ({
    position: row[0] as bigint,
    storedBytes: row[largeSizeIndex] as number,
    fill: (data: unknown) => {
      (row as unknown[])[dataIndex] = data;
    },
  }));
  const count = await fillLargeEvents(events, (positions) => selectRows(sql, largeDataStatement, [positions], signal));
  const next = large[count];
  return next === undefined ? rows : rows.slice(0, rows.indexOf(next));
}

/** What the rows do not contain, or contain in columns of their own. */
type EventContext = Pick<RecordedEvent, "streamId" | "aggregate" | "epochId">;

function rowStream(row: Row): Omit<EventContext, "epochId"> {
  const [streamId, type, id] = [
    row[eventColumnCount],
    row[eventColumnCount + 1],
    row[eventColumnCount + 2],
  ] as string[];
  return { streamId: streamId as string, aggregate: { type: type as string, id: id as string } };
}

function recordedEvent(row: Row, { streamId, aggregate, epochId }: EventContext, upcasters: Upcasters): RecordedEvent {
  const event: RecordedEvent = {
    position: row[0] as bigint,
    epochId,
    streamId,
    aggregate,
    aggregateVersion: row[1] as number,
    id: row[2] as string,
    type: row[3] as string,
    version: row[4] as number,
    data: row[dataIndex],
    metadata: row[6] as EventMetadata | null,
    causationId: row[7] as string | null,
    correlationId: row[8] as string | null,
    occurredAt: row[9] as Date,
  };
  return upcast(event, upcasters);
}

/** Prevents an unhandled rejection if the caller stops before it awaits the page. */
function prefetched<Page>(page: Promise<Page>): Promise<Page> {
  page.catch(() => undefined);
  return page;
}

/** @returns a PostgreSQL array literal; null for undefined, which differs from an empty array */
export function textArray(values: readonly string[] | undefined): string | null {
  if (values === undefined) return null;
  return `{${values.map((value) => `"${value.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}
