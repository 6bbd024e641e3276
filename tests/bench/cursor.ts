import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { pageSize } from "./stores/store.ts";

/**
 * Reads all events through a cursor, with their data as objects: a bound on the speed of any reader. It is not a
 * correct reader, because it does not know how far the log is complete.
 *
 * @returns the number of events
 */
export async function readByCursor(sql: Sql): Promise<number> {
  let count = 0;
  const statement = `
    select
      event.global_position, event.stream_id, stream.aggregate_type, stream.aggregate_id, event.aggregate_version,
      event.event_id, event.event_type, event.event_version, event.event_data, event.metadata, event.causation_id,
      event.correlation_id, event.occurred_at
    from event_store.domain_event as event
    join event_store.event_stream as stream on stream.stream_id = event.stream_id
    order by event.global_position`;
  for await (const rows of sql.unsafe(statement).cursor(pageSize)) count += rows.length;
  return count;
}
