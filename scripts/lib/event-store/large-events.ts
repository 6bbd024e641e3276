// Keeps pages small in bytes. A page bounds only the number of its events, so the data of large ones is left out of it
// and fetched in groups. Sizes in the database are those after compression; how much the text is larger is only known
// once the first of it has arrived.

/** An event whose stored data is larger is fetched in a group. */
const largeBytes = 8 * 1024;
/** Roughly how much text of large data a page has; one event may exceed it. */
const pageBytes = 8 * 1024 * 1024;
/** Bounds the group in case its data is compressed far better than what came before. */
const maxGroupBytes = 1024 * 1024;
/** The text of the most compressible data is almost this many times as large as it is stored. */
const maxRatio = 100;
/** By how much a group may grow from one to the next. */
const groupGrowth = 4;

/** What to select for the data of an event: the data unless it is large, and its stored size if it is. */
export const dataColumn = `case when pg_column_size(event.event_data) <= ${largeBytes} then event.event_data end`;
export const largeSizeColumn = `nullif(greatest(pg_column_size(event.event_data), ${largeBytes}), ${largeBytes})`;

/** Takes positions as the text of an array. */
export const largeDataStatement = `
  select event.global_position, event.event_data::text
  from event_store.domain_event as event
  where event.global_position = any ($1::text::bigint[])`;

/** An event whose data was left out. */
export interface LargeEvent {
  readonly position: bigint;
  readonly storedBytes: number;
  /** Sets its data. */
  fill(data: unknown): void;
}

/** Executes `largeDataStatement`. */
export type FetchLargeData = (positions: string) => Promise<readonly (readonly unknown[])[]>;

/**
 * Fills in the data of large events, in order, until the page is large enough.
 *
 * @returns how many were filled; at least one
 */
export async function fillLargeEvents(events: readonly LargeEvent[], fetch: FetchLargeData): Promise<number> {
  let [count, textBytes, ratio] = [0, 0, 0];
  let groupBytes = pageBytes / maxRatio;
  while (count < events.length && textBytes < pageBytes) {
    const group = takeGroup(events, count, groupBytes);
    const texts = new Map((await fetch(`{${group.map(({ position }) => position)}}`)) as [bigint, string][]);
    for (const { position, storedBytes, fill } of group) {
      const text = texts.get(position) as string;
      fill(JSON.parse(text));
      textBytes += text.length;
      ratio = Math.max(ratio, text.length / storedBytes);
    }
    count += group.length;
    groupBytes = Math.min(groupBytes * groupGrowth, maxGroupBytes, (pageBytes - textBytes) / ratio);
  }
  return count;
}

/** @returns the next events whose stored data is at most `groupBytes`, or one that exceeds it */
function takeGroup(events: readonly LargeEvent[], start: number, groupBytes: number): readonly LargeEvent[] {
  let [end, storedBytes] = [start, 0];
  while (end < events.length) {
    storedBytes += events[end]?.storedBytes ?? 0;
    if (end > start && storedBytes > groupBytes) break;
    end++;
  }
  return events.slice(start, end);
}
