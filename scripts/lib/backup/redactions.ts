import type { Sql } from "../postgres/connect.ts";
import { inTransaction } from "../postgres/transaction.ts";

/** Redacted events that are read and written at once: each may hold what is to stand there, up to some megabytes. */
const pageLength = 20;

/** Where the next page begins. */
interface Place {
  readonly streamId: string;
  readonly version: number;
}

interface Page {
  /** The redacted events with the records of their redaction, as a JSON array. */
  readonly events: string;
  readonly last: Place;
}

/**
 * Redacts in a restored database the events that were redacted in another one since: their data, and the record of it.
 *
 * An event is the same one when stream, version and event id are. What was done already is not done again.
 *
 * @param live the database in which events were redacted, as a role that may read its event store
 * @param restored a single connection, as the owner of all tables
 * @returns the number of events that were redacted
 */
export async function redactAgain(live: Sql, restored: Sql): Promise<number> {
  if (!(await hasRedactions(live))) return 0;
  let redacted = 0;
  let page = await readPage(live, { streamId: "00000000-0000-0000-0000-000000000000", version: 0 });
  while (page !== undefined) {
    redacted += await redactPage(restored, page.events);
    page = await readPage(live, page.last);
  }
  return redacted;
}

async function hasRedactions(sql: Sql): Promise<boolean> {
  const [row] = await sql`select from pg_catalog.pg_class where oid = to_regclass('event_store.redaction')`;
  return row !== undefined;
}

async function readPage(live: Sql, { streamId, version }: Place): Promise<Page | undefined> {
  const rows = await live<{ streamId: string; version: number; event: string }[]>`
    select stream_id::text as "streamId", aggregate_version as version, to_jsonb(redacted)::text as event
    from (
      select stream_id, aggregate_version, event_id, event_data, metadata, (
          select jsonb_agg(to_jsonb(r) order by r.redacted_at)
          from event_store.redaction as r
          where r.stream_id = e.stream_id and r.aggregate_version = e.aggregate_version
        ) as records
      from (
        select distinct stream_id, aggregate_version from event_store.redaction
        where (stream_id, aggregate_version) > (${streamId}::uuid, ${version}::integer)
        order by stream_id, aggregate_version limit ${pageLength}
      ) as place
      join event_store.domain_event as e using (stream_id, aggregate_version)
    ) as redacted
    order by stream_id, aggregate_version`;
  const last = rows.at(-1);
  if (last === undefined) return undefined;
  return { events: `[${rows.map(({ event }) => event).join(",")}]`, last };
}

/** The last record of an event that was missing gets the number of this transaction, which opens the event to it. */
async function redactPage(restored: Sql, events: string): Promise<number> {
  return await inTransaction(restored, async (tx) => {
    await tx`
      create temporary table redacted on commit drop as
      select g.*
      from jsonb_to_recordset(${events}::text::jsonb)
        as g (stream_id uuid, aggregate_version integer, event_id uuid, event_data jsonb, metadata jsonb, records jsonb)
      join event_store.domain_event as e using (stream_id, aggregate_version, event_id)`;
    await tx`
      insert into event_store.redaction (stream_id, aggregate_version, redacted_at, transaction_id, redacted_by, reason)
      select stream_id, aggregate_version, redacted_at,
        case row_number() over (partition by stream_id, aggregate_version order by redacted_at desc)
          when 1 then pg_current_xact_id() else transaction_id end,
        redacted_by, reason
      from pg_temp.redacted as g
      cross join jsonb_to_recordset(g.records)
        as r (redacted_at timestamptz, transaction_id xid8, redacted_by name, reason text)
      where not exists (
        select from event_store.redaction as known
        where known.stream_id = g.stream_id and known.aggregate_version = g.aggregate_version
          and known.redacted_at = r.redacted_at and known.redacted_by = r.redacted_by and known.reason = r.reason)`;
    await tx`
      delete from pg_temp.redacted as g where not exists (
        select from event_store.redaction as r
        where r.stream_id = g.stream_id and r.aggregate_version = g.aggregate_version
          and r.transaction_id = pg_current_xact_id())`;
    // The statement trigger refuses an update in a transaction that has recorded nothing.
    const [count] = await tx<{ events: number }[]>`select count(*)::int as events from pg_temp.redacted`;
    if (count === undefined || count.events === 0) return 0;
    await tx`
      update event_store.domain_event as e set event_data = g.event_data, metadata = g.metadata
      from pg_temp.redacted as g
      where e.stream_id = g.stream_id and e.aggregate_version = g.aggregate_version`;
    await tx`
      delete from event_store.snapshot as s using pg_temp.redacted as g
      where s.stream_id = g.stream_id and s.aggregate_version >= g.aggregate_version`;
    return count.events;
  });
}
