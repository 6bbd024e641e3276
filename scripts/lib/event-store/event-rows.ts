import { explainError } from "./errors.ts";
import type { CallerTransaction, EventMetadata, RecordedEvent } from "./event.ts";
import { dataColumn, fillLargeEvents, largeDataStatement, largeSizeColumn } from "./large-events.ts";
import { answerUntilAborted } from "./waiting.ts";

/** What to select for an event, in the order of `recordedEvent`. */
export const eventColumns = [
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
export const eventColumnCount = eventColumns.length;
const [dataIndex, largeSizeIndex] = [eventColumns.indexOf(dataColumn), eventColumns.indexOf(largeSizeColumn)];

/** A row as an array. */
export type Row = readonly unknown[];

/**
 * Executes a statement.
 *
 * @throws {EventStoreError} if the server refuses it
 */
export async function selectRows(
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
export async function completeRows(
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

/** What the columns of an event do not contain. */
export type EventContext = Pick<RecordedEvent, "streamId" | "aggregate" | "epochId">;

/** @returns the stream of an event, from the columns after its own */
export function rowStream(row: Row): Omit<EventContext, "epochId"> {
  const [streamId, type, id] = [
    row[eventColumnCount],
    row[eventColumnCount + 1],
    row[eventColumnCount + 2],
  ] as string[];
  return { streamId: streamId as string, aggregate: { type: type as string, id: id as string } };
}

/** @returns the event of a row, as it is stored */
export function recordedEvent(row: Row, { streamId, aggregate, epochId }: EventContext): RecordedEvent {
  const metadata = row[6] as EventMetadata | null;
  return {
    position: row[0] as bigint,
    epochId,
    streamId,
    aggregate,
    aggregateVersion: row[1] as number,
    id: row[2] as string,
    type: row[3] as string,
    version: row[4] as number,
    data: row[dataIndex],
    metadata,
    causationId: (row[7] as string | null) ?? keptId(metadata, "$causationId"),
    correlationId: (row[8] as string | null) ?? keptId(metadata, "$correlationId"),
    occurredAt: row[9] as Date,
  };
}

/** @returns an id that is no UUID, which is kept in the metadata */
function keptId(metadata: EventMetadata | null, key: "$causationId" | "$correlationId"): string | null {
  const id = metadata?.[key];
  return typeof id === "string" ? id : null;
}

/** Prevents an unhandled rejection if the caller stops before it awaits the page. */
export function prefetched<Page>(page: Promise<Page>): Promise<Page> {
  page.catch(() => undefined);
  return page;
}
