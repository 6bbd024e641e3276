import type { Aggregate, CallerTransaction, RecordedEvent } from "./event.ts";
import {
  completeRows,
  eventColumnCount,
  eventColumns,
  prefetched,
  type Row,
  recordedEvent,
  rowStream,
  selectRows,
} from "./event-rows.ts";
import { type LogPlace, makeCheckpoint } from "./log-place.ts";
import { streamIdOf } from "./stream-id.ts";
import { storedTypes, type UpcastPlan, upcastEvents } from "./upcast.ts";

/** Which events of the log to read. */
export interface LogFilter {
  /** @default all */
  readonly eventTypes?: readonly string[];
  /**
   * @default all. Types with more than 1,000 streams in all cost a scan of the log. With `eventTypes`, the cost is that
   * of `eventTypes` alone.
   */
  readonly aggregateTypes?: readonly string[];
  /** Only the events of this aggregate; @default all */
  readonly aggregate?: Aggregate;
}

/** A page of the log. */
export interface LogPage {
  readonly events: readonly RecordedEvent[];
  /** The events that they were before upcasting. */
  readonly stored: readonly RecordedEvent[];
  /** Where to resume once the events are handled. */
  readonly place: LogPlace;
  /** Whether the log was complete only up to that place when the page was read. */
  readonly isAtEnd: boolean;
  /** Whether it ends before its last event, because its events are large. */
  readonly isCut: boolean;
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
  readonly upcasters: UpcastPlan;
  /** Abandons the statement. */
  readonly signal?: AbortSignal | undefined;
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
  const { eventTypes, aggregateTypes, aggregate } = options;
  const isFiltered = [eventTypes, aggregateTypes, aggregate].some((filter) => filter !== undefined);
  const fetch = (after: LogPlace, range?: PositionRange) =>
    prefetched(readLog(sql, { ...options, after, ...(range === undefined ? {} : { range }) }));
  let place = options.after;
  let next = fetch(place);
  let nextEnd: bigint | undefined;
  for (;;) {
    const ahead = nextEnd === undefined ? undefined : fetch(place, { above: nextEnd, upTo: nextEnd + width });
    const [page, before] = [await next, place];
    // A page fetched ahead does not check the place right before it; the fetch after it does. Without that check, a
    // reader whose last page was lost in a crash would go on with events that were appended since.
    if (page.isAtEnd) await ahead;
    // A range without events is left at the place before it.
    if (page.place.position >= place.position) place = page.place;
    if (!page.isAtEnd) {
      // After a page that was cut, the one ahead would leave a gap.
      const isDense = !isFiltered && !page.isCut && page.stored.length * 2 > options.maxCount;
      const start = nextEnd ?? place.position;
      nextEnd = isDense ? start + width : undefined;
      const range = nextEnd === undefined ? undefined : { above: start, upTo: nextEnd };
      next = (isDense ? ahead : undefined) ?? fetch(place, range);
    }
    yield { ...page, place, events: options.upcasters.hasRewrites ? resumable(page, before) : page.events };
    if (page.isAtEnd) return;
  }
}

/** Sets `resumeFrom` of the parts of split events. @param before the place before the page */
function resumable({ events, stored }: LogPage, before: LogPlace): readonly RecordedEvent[] {
  let [place, next] = [before, 0];
  return events.map((event, index) => {
    if (event.position !== events[index + 1]?.position) return event;
    while ((stored[next]?.position ?? event.position) < event.position) place = placeAfter(stored[next++], place);
    return { ...event, resumeFrom: makeCheckpoint(place) };
  });
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
  const { after, isKeptOutside, maxCount, range, eventTypes, aggregateTypes, aggregate, upcasters } = options;
  const parameters = [
    `${range?.above ?? after.position}`,
    maxCount,
    textArray(storedTypes(upcasters, eventTypes)),
    textArray(aggregateTypes),
    range === undefined ? null : `${range.upTo}`,
    isKeptOutside ? `${after.position}` : null,
    after.eventId,
    after.epochId,
    aggregate === undefined ? null : streamIdOf(aggregate),
  ];
  const [first, ...rows] = await selectRows(sql, readLogStatement, parameters, options.signal);
  const end = endOfLog(first as Row);
  const { epochId } = end;
  const complete = await completeRows(sql, rows, options.signal);
  const stored = complete.map((row) => recordedEvent(row, { ...rowStream(row), epochId }));
  const events = upcastEvents(stored, upcasters, eventTypes);
  const isCut = complete.length < rows.length;
  const isAtEnd = !isCut && (range === undefined ? stored.length < maxCount : end.position <= range.upTo);
  const place = isAtEnd ? furthest(after, end) : placeAfter(stored.at(-1), after);
  return { events, stored, place, isAtEnd, isCut };
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

// A range that is fetched ahead may begin beyond the end of the log, where read_all would refuse to start.
const readLogStatement = `
  with log as materialized (select * from event_store.resume_log($6::bigint, $7::uuid, $8::uuid))
  select
    safe_position, null, safe_event_id, null, null, null, null, null, null, null, null, current_epoch_id, null, null
  from log
  union all
  select ${eventColumns.join(", ")}, event.stream_id, event.aggregate_type,
    coalesce(event.aggregate_key, event.aggregate_id::text)
  from event_store.read_all(
    least($1::bigint, case when $5::bigint is not null then (select safe_position from log) end),
    $2::integer, $3::text::text[], $4::text::text[], least((select safe_position from log), $5::bigint), $9::uuid
  ) as event`;

/** @returns a PostgreSQL array literal; null for undefined, which differs from an empty array */
export function textArray(values: readonly string[] | undefined): string | null {
  if (values === undefined) return null;
  return `{${values.map((value) => `"${value.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}
