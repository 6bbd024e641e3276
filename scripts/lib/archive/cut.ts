import type { Sql } from "../postgres/driver.ts";

/** The last event to keep. */
export type LogEnd = { readonly position: bigint } | { readonly time: string };

/** Where a log was cut. */
export interface LogCut {
  /** The position after which it was cut. */
  readonly position: bigint;
  /** The number of rows that were deleted. */
  readonly deleted: number;
}

/** Deletes later events, and makes streams, snapshots and redactions agree with the remaining log. */
export async function cutLog(tx: Sql, until: LogEnd): Promise<LogCut> {
  const position = "position" in until ? until.position : await lastPositionAt(tx, until.time);
  const events = await tx`delete from event_store.domain_event where global_position > ${position}`;
  await tx`
    create temporary table kept on commit drop as
      select stream_id, max(aggregate_version) as version from event_store.domain_event group by stream_id`;
  const streams = await tx`
    delete from event_store.event_stream as s where not exists (
      select from pg_temp.kept as k where k.stream_id = s.stream_id)`;
  await tx`
    update event_store.event_stream as s set version = k.version, archived_at = null
      from pg_temp.kept as k where k.stream_id = s.stream_id and k.version <> s.version`;
  const snapshots = await tx`
    delete from event_store.snapshot as s where not exists (
      select from pg_temp.kept as k where k.stream_id = s.stream_id and k.version >= s.aggregate_version)`;
  const redactions = await tx`
    delete from event_store.redaction as r where not exists (
      select from pg_temp.kept as k where k.stream_id = r.stream_id and k.version >= r.aggregate_version)`;
  return { position, deleted: events.count + streams.count + snapshots.count + redactions.count };
}

/** @returns the greatest position up to which no event is later than the given time */
async function lastPositionAt(tx: Sql, time: string): Promise<bigint> {
  const [row] = await tx<{ position: bigint }[]>`
    select coalesce(min(global_position) - 1, ${2n ** 63n - 1n}::bigint) as position
    from event_store.domain_event where occurred_at > ${time}::text::timestamptz`;
  return row?.position ?? 0n;
}

/**
 * Replaces the transaction ids of redaction records if this server has not assigned one of them yet. A record permits
 * the transaction with its id to change the event; a later transaction of this server must not get that permission.
 */
export async function renumberRedactions(tx: Sql): Promise<void> {
  await tx`
    with renumbered as (
      select ctid, row_number() over (partition by stream_id, aggregate_version order by transaction_id) as number
      from event_store.redaction
      where exists (select from event_store.redaction where transaction_id >= pg_catalog.pg_current_xact_id())
    )
    update event_store.redaction as r set transaction_id = renumbered.number::text::xid8
    from renumbered where renumbered.ctid = r.ctid`;
}
