import type { Sql } from "../postgres/driver.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { type CatalogTable, columnList, copySettings, type QualifiedName, qualified, readTables } from "./catalog.ts";
import { copyIn } from "./copy.ts";
import { type ArchivedTable, corrupt, type Manifest } from "./manifest.ts";
import { type OnPiece, type OnProgress, trackProgress } from "./progress.ts";
import type { Seal } from "./seal.ts";
import { readSegment } from "./segment.ts";
import { suspendConstraints } from "./suspend-constraints.ts";

/** An archive, and how to read it. */
export interface ArchiveSource {
  readonly dir: string;
  readonly manifest: Manifest;
  readonly seal: Seal;
}

/** Which parts of an archive to load. */
export interface LoadOptions {
  /** The full archive that the source is based on; undefined if the source is itself full. */
  readonly base: ArchiveSource | undefined;
  /** Leaves the tables of all other schemas empty, except the migration ledger. */
  readonly onlyEventStore: boolean;
  /** The last event to keep; all events if undefined. */
  readonly until: { readonly position: bigint } | { readonly time: string } | undefined;
  readonly onProgress: OnProgress;
}

const log = { schema: "event_store", name: "domain_event" } as const;
const pieceBytes = 256 * 1024;

/**
 * Loads the rows of an archive, in one transaction, into a database that was just created from the archive's schema.
 *
 * @param sql a single connection, with the role that owns all tables
 * @returns the position up to which the loaded log lacks none of the events of the log that was archived
 * @throws {ScriptError} `ARCHIVE_CORRUPT` (exit 11)
 */
export async function loadArchive(sql: Sql, source: ArchiveSource, options: LoadOptions): Promise<bigint> {
  const complete = BigInt(source.manifest.safePosition);
  const { tables: loaded, end } = await inTransaction(sql, async (tx) => {
    await tx.unsafe(`${copySettings}; set local maintenance_work_mem = '256MB'`).simple();
    const all = await readTables(tx);
    const tables = all.filter((table) => isSelected(table, options));
    const restoreConstraints = await suspendConstraints(tx, all);
    if (tables.length > 0) await tx.unsafe(`truncate only ${tables.map(qualified).join(", only ")}`);
    await loadTables(tx, tables, source, options);
    const cut = options.until === undefined ? complete : await cutLog(tx, options.until);
    await renumberRedactions(tx);
    await setSequences(tx, source.manifest);
    await restoreConstraints();
    await refreshViews(tx);
    return { tables, end: cut < complete ? cut : complete };
  });
  // Without statistics, the planner would assume that the tables are nearly empty.
  if (loaded.length > 0) await sql.unsafe(`analyze ${loaded.map(qualified).join(", ")}`);
  return end;
}

function isSelected({ schema, name }: CatalogTable, { onlyEventStore }: LoadOptions): boolean {
  const isLedger = schema === "public" && name === "schema_migration";
  return !onlyEventStore || schema === "event_store" || isLedger;
}

async function loadTables(
  tx: Sql,
  tables: readonly CatalogTable[],
  source: ArchiveSource,
  options: LoadOptions,
): Promise<void> {
  const all = [...(options.base?.manifest.tables ?? []), ...source.manifest.tables];
  const bytesTotal = all.flatMap(({ segments }) => segments).reduce((sum, { rawBytes }) => sum + rawBytes, 0);
  const onPiece = trackProgress(bytesTotal, options.onProgress);
  // The log comes last, because loading the base needs the redaction records.
  for (const table of tables.toSorted((a, b) => Number(isLog(a)) - Number(isLog(b)))) {
    if (isLog(table) && options.base !== undefined) await loadBase(tx, options.base, onPiece);
    await loadTable(tx, table, source, onPiece);
  }
}

/** Loads the events that only the base contains: deletes those that the incremental archive contains as well. */
async function loadBase(tx: Sql, base: ArchiveSource, onPiece: OnPiece): Promise<void> {
  await loadTable(tx, log, base, onPiece);
  await tx`
    delete from event_store.domain_event as event
    where global_position > ${base.manifest.safePosition}::bigint or exists (
      select from event_store.redaction
      where stream_id = event.stream_id and aggregate_version = event.aggregate_version)`;
}

async function loadTable(
  tx: Sql,
  { schema, name }: QualifiedName,
  source: ArchiveSource,
  onPiece: OnPiece,
): Promise<void> {
  const table = source.manifest.tables.find((candidate) => candidate.schema === schema && candidate.name === name);
  if (table === undefined) throw corrupt(source.dir, `It does not contain the table ${schema}.${name}.`);
  const pieces = readPieces(source, table, onPiece);
  const rows = await copyIn(
    tx,
    `copy ${qualified(table)} ${columnList(table.columns)} from stdin with (freeze)`,
    pieces,
  );
  if (rows !== table.rows) throw corrupt(source.dir, `${schema}.${name} has ${rows} rows, not ${table.rows}.`);
}

/** Reads and checks each segment while the server stores the previous one. */
async function* readPieces(
  { dir, seal }: ArchiveSource,
  table: ArchivedTable,
  onPiece: OnPiece,
): AsyncGenerator<Buffer> {
  const read = (index: number) => {
    const segment = table.segments[index];
    const raw = segment === undefined ? undefined : readSegment(dir, segment, seal);
    raw?.catch(() => {});
    return raw;
  };
  let next = read(0);
  for (let index = 0; next !== undefined; index++) {
    const raw: Buffer = await next;
    next = read(index + 1);
    for (let at = 0; at < raw.length; at += pieceBytes) yield raw.subarray(at, at + pieceBytes);
    onPiece(table, raw);
  }
}

/**
 * Deletes later events, and makes streams, snapshots and redactions agree with the remaining log.
 *
 * @returns the position after which it was cut
 */
async function cutLog(tx: Sql, until: NonNullable<LoadOptions["until"]>): Promise<bigint> {
  const position = "position" in until ? until.position : await lastPositionAt(tx, until.time);
  await tx`delete from event_store.domain_event where global_position > ${position}`;
  await tx
    .unsafe(`
    create temporary table kept on commit drop as
      select stream_id, max(aggregate_version) as version from event_store.domain_event group by stream_id;
    delete from event_store.event_stream as s where not exists (
      select from pg_temp.kept as k where k.stream_id = s.stream_id);
    update event_store.event_stream as s set version = k.version, archived_at = null
      from pg_temp.kept as k where k.stream_id = s.stream_id and k.version <> s.version;
    delete from event_store.snapshot as s where not exists (
      select from pg_temp.kept as k where k.stream_id = s.stream_id and k.version >= s.aggregate_version);
    delete from event_store.redaction as r where not exists (
      select from pg_temp.kept as k where k.stream_id = r.stream_id and k.version >= r.aggregate_version)`)
    .simple();
  return position;
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
async function renumberRedactions(tx: Sql): Promise<void> {
  await tx`
    with renumbered as (
      select ctid, row_number() over (partition by stream_id, aggregate_version order by transaction_id) as number
      from event_store.redaction
      where exists (select from event_store.redaction where transaction_id >= pg_catalog.pg_current_xact_id())
    )
    update event_store.redaction as r set transaction_id = renumbered.number::text::xid8
    from renumbered where renumbered.ctid = r.ctid`;
}

/** Sets sequences, whose state does not follow from the rows. Skips the application's if they were not restored. */
async function setSequences(tx: Sql, { sequences }: Manifest): Promise<void> {
  for (const { schema, name, lastValue, isCalled } of sequences) {
    await tx`select pg_catalog.setval(to_regclass(${qualified({ schema, name })}), ${lastValue}::bigint, ${isCalled})`;
  }
}

/** Refreshes the views in the order of their creation, because one may read another. */
async function refreshViews(tx: Sql): Promise<void> {
  const views = await tx<QualifiedName[]>`
    select n.nspname::text as schema, c.relname::text as name
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'm' and c.relispopulated order by c.oid`;
  for (const view of views) await tx.unsafe(`refresh materialized view ${qualified(view)}`);
}

function isLog({ schema, name }: QualifiedName): boolean {
  return schema === log.schema && name === log.name;
}
