import manifestOfPackage from "../../../package.json" with { type: "json" };
import type { Sql } from "../postgres/driver.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { type CatalogTable, columnList, copySettings, qualified, readSequences, readTables } from "./catalog.ts";
import { copyOut } from "./copy.ts";
import { type ArchivedTable, formatVersion, type Manifest, manifestName, serializeManifest } from "./manifest.ts";
import { type OnPiece, type OnProgress, trackProgress } from "./progress.ts";
import type { Seal } from "./seal.ts";
import { compressionLevel, type SegmentTarget, SegmentWriter } from "./segment.ts";
import type { ArchiveSink } from "./sink.ts";

/** How to write an archive. */
export interface WriteOptions {
  readonly sink: ArchiveSink;
  readonly id: string;
  readonly seal: Seal;
  /** Puts the files that created the schema into the sink, and checks that they create exactly this schema. */
  readonly putSchema: (tx: Sql) => Promise<SchemaFacts>;
  /** Taken before the snapshot: see `event_store.safe_position`. */
  readonly safePosition: string;
  readonly onProgress: OnProgress;
}

/** What the manifest records about the schema. */
export type SchemaFacts = Pick<Manifest, "schema" | "fingerprint" | "base">;

interface ServerFacts {
  readonly server: number;
  readonly database: string;
}

/**
 * Writes an archive of everything a database contains, from one snapshot. Concurrent writes continue, and are not in
 * it.
 *
 * @param sql a single connection, with a role that can read all tables
 * @returns the manifest, which is the last file of the archive
 */
export async function writeArchive(sql: Sql, options: WriteOptions): Promise<Manifest> {
  const startedAt = new Date().toISOString();
  const snapshot = async (tx: Sql) => {
    await tx.unsafe(copySettings).simple();
    const facts = await readFacts(tx);
    const all = await readTables(tx);
    await lockTables(tx, all);
    const schema = await options.putSchema(tx);
    const tables = await writeTables(tx, all, schema.base, options);
    const sequences = await readSequences(tx);
    return { ...facts, ...schema, tables, sequences, ...(await readLogEnd(tx, options.safePosition)) };
  };
  const content = await inTransaction(sql, snapshot, "isolation level repeatable read read only");
  const { server, database, schema, fingerprint, base, tables, sequences, safeEvent, lastPosition } = content;
  const { sink, id, safePosition, seal } = options;
  const manifest: Manifest = {
    format: formatVersion,
    id,
    base,
    tool: manifestOfPackage.version,
    server,
    database,
    startedAt,
    endedAt: new Date().toISOString(),
    fingerprint,
    safePosition,
    safeEvent,
    lastPosition,
    schema,
    tables,
    sequences,
    compression: { codec: "zstd", level: compressionLevel },
    encryption: seal.encryption,
  };
  await sink.flush();
  await sink.put(manifestName, Buffer.from(serializeManifest(manifest)));
  await sink.flush();
  return manifest;
}

/**
 * Prevents tables from being dropped, altered or rewritten before they are read. Skips tables that this role cannot
 * read, because the check of the schema reports those.
 */
async function lockTables(tx: Sql, tables: readonly CatalogTable[]): Promise<void> {
  const readable = await tx<{ name: string }[]>`
    select name from jsonb_array_elements_text(${JSON.stringify(tables.map(qualified))}::text::jsonb) as name
    where has_table_privilege(name, 'select')`;
  for (const { name } of readable) await tx.unsafe(`lock table only ${name} in access share mode`);
}

async function readFacts(tx: Sql): Promise<ServerFacts> {
  const [facts] = await tx<ServerFacts[]>`
    select current_setting('server_version_num')::int as server, current_database()::text as database`;
  if (facts === undefined) throw new Error("unreachable: a query without FROM returns one row");
  return facts;
}

async function readLogEnd(tx: Sql, safePosition: string): Promise<Pick<Manifest, "safeEvent" | "lastPosition">> {
  const [row] = await tx<{ last: string }[]>`
    select coalesce(max(global_position), 0)::text as last from event_store.domain_event`;
  return { safeEvent: await readEventAt(tx, safePosition), lastPosition: row?.last ?? "0" };
}

/** @returns the id of the last event up to a position; null if there is none */
export async function readEventAt(sql: Sql, position: string): Promise<string | null> {
  const [row] = await sql<{ id: string }[]>`
    select event_id::text as id from event_store.domain_event
    where global_position <= ${position}::bigint order by global_position desc limit 1`;
  return row?.id ?? null;
}

async function writeTables(
  tx: Sql,
  tables: readonly CatalogTable[],
  base: Manifest["base"],
  options: WriteOptions,
): Promise<ArchivedTable[]> {
  const bytesTotal = tables.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const onPiece = trackProgress(bytesTotal, options.onProgress);
  const { sink, seal } = options;
  const written: ArchivedTable[] = [];
  for (const [index, table] of tables.entries()) {
    const prefix = `data/${String(index + 1).padStart(4, "0")}`;
    written.push(await writeTable(tx, table, { sink, seal, prefix, base, onPiece }));
  }
  return written;
}

interface TableTarget extends SegmentTarget {
  readonly base: Manifest["base"];
  readonly onPiece: OnPiece;
}

async function writeTable(tx: Sql, table: CatalogTable, target: TableTarget): Promise<ArchivedTable> {
  await using writer = new SegmentWriter(target);
  const rows = await copyOut(tx, copyStatement(table, target.base), async (piece) => {
    await writer.write(piece);
    target.onPiece(table, piece);
  });
  const { schema, name, columns } = table;
  return { schema, name, columns: [...columns], rows, segments: await writer.end() };
}

/** An incremental archive contains only the events since its base, and those that were redacted. */
function copyStatement(table: CatalogTable, base: Manifest["base"]): string {
  const columns = columnList(table.columns);
  const isLog = table.schema === "event_store" && table.name === "domain_event";
  if (base === null || !isLog) return `copy ${qualified(table)} ${columns} to stdout`;
  return `copy (
    select ${columns.slice(1, -1)} from event_store.domain_event as event
    where global_position > ${BigInt(base.safePosition)} or exists (
      select from event_store.redaction
      where stream_id = event.stream_id and aggregate_version = event.aggregate_version)
  ) to stdout`;
}
