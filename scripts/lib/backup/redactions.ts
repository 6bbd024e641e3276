import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";
import type { ArchiveContext } from "./lock.ts";

/** Events to read and write at a time. Few, because the replaced data of one event may be several megabytes. */
const pageLength = 20;

/** Where the previous page ended. */
interface Place {
  readonly streamId: string;
  readonly version: number;
}

interface Page {
  /** A JSON array of redacted events, each with the records of its redactions. */
  readonly events: string;
  readonly last: Place;
}

/**
 * Repeats in a restored database the redactions made in the live one after the archive was written: copies the replaced
 * data and the records. Idempotent. Two events are the same if their stream, version and event id are equal.
 *
 * @param live the live database; if it does not exist or has no event store, nothing happens
 * @returns the number of events that were redacted
 */
export async function redactRestored(
  { maintenance, run }: ArchiveContext,
  live: ConnectionTarget,
  restored: ConnectionTarget,
): Promise<number> {
  const [row] = await maintenance`select from pg_catalog.pg_database where datname = ${live.database}`;
  if (row === undefined) return 0;
  const options = { applicationName: "cqrs-postgres restore", role: groupRoles.owner, signal: run.signal };
  await using from = openConnection(live, options);
  await using to = openConnection(restored, options);
  return await copyRedactions(from.sql, to.sql);
}

async function copyRedactions(live: Sql, restored: Sql): Promise<number> {
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

/** Gives the newest missing record of each event the id of this transaction, which permits it to change the event. */
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
    // Without a record of this transaction, the statement trigger rejects even an update of no rows.
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
