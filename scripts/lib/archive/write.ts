import manifestOfPackage from "../../../package.json" with { type: "json" };
import type { Sql } from "../postgres/connect.ts";
import { type CatalogTable, columnList, copySettings, qualified, readSequences, readTables } from "./catalog.ts";
import { copyOut } from "./copy.ts";
import {
  type ArchivedTable,
  formatVersion,
  type Manifest,
  manifestName,
  type StoredFile,
  serializeManifest,
} from "./manifest.ts";
import type { Seal } from "./seal.ts";
import { compressionLevel, SegmentWriter, sha256 } from "./segment.ts";
import type { ArchiveSink } from "./sink.ts";

/** How far a long transfer has come. */
export interface Progress {
  readonly table: string;
  readonly bytesDone: number;
  /** An estimate. */
  readonly bytesTotal: number;
}

/** What an archive is made of, beside the rows. */
export interface WriteOptions {
  readonly sink: ArchiveSink;
  readonly id: string;
  readonly base: Manifest["base"];
  readonly seal: Seal;
  /** What {@link writeSchema} has written. */
  readonly schema: readonly StoredFile[];
  /** The fingerprint that these files give; the database must have the same. */
  readonly checkFingerprint: (tx: Sql) => Promise<Manifest["fingerprint"]>;
  /** Taken before the snapshot: see `event_store.safe_position`. */
  readonly safePosition: string;
  readonly onProgress: (progress: Progress) => void;
}

interface Facts {
  readonly server: number;
  readonly database: string;
}

/**
 * Writes an archive of everything a database holds, from one snapshot, whatever is written to it meanwhile.
 *
 * @param sql a single connection, as a role that may read all tables
 * @returns the manifest, which is in the archive as the last file
 */
export async function writeArchive(sql: Sql, options: WriteOptions): Promise<Manifest> {
  const startedAt = new Date().toISOString();
  const content = await sql.begin("isolation level repeatable read read only", async (transaction) => {
    const tx = transaction as unknown as Sql;
    await tx.unsafe(copySettings).simple();
    const facts = await readFacts(tx);
    const fingerprint = await options.checkFingerprint(tx);
    const tables = await writeTables(tx, options);
    const sequences = await readSequences(tx);
    return { ...facts, fingerprint, tables, sequences, ...(await readLogEnd(tx, options.safePosition)) };
  });
  const { server, database, fingerprint, tables, sequences, safeEvent, lastPosition } = content;
  const { sink, id, base, safePosition, seal } = options;
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
    schema: [...options.schema],
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

async function readFacts(tx: Sql): Promise<Facts> {
  const [facts] = await tx<Facts[]>`
    select current_setting('server_version_num')::int as server, current_database()::text as database`;
  if (facts === undefined) throw new Error("the server told nothing of itself");
  return facts;
}

async function readLogEnd(tx: Sql, safePosition: string): Promise<Pick<Manifest, "safeEvent" | "lastPosition">> {
  const [row] = await tx<{ last: string }[]>`
    select coalesce(max(global_position), 0)::text as last from event_store.domain_event`;
  return { safeEvent: await readEventAt(tx, safePosition), lastPosition: row?.last ?? "0" };
}

/** @returns id of the last event up to a position; null when there is none */
export async function readEventAt(sql: Sql, position: string): Promise<string | null> {
  const [row] = await sql<{ id: string }[]>`
    select event_id::text as id from event_store.domain_event
    where global_position <= ${position}::bigint order by global_position desc limit 1`;
  return row?.id ?? null;
}

async function writeTables(tx: Sql, options: WriteOptions): Promise<ArchivedTable[]> {
  const tables = await readTables(tx);
  // Nobody drops or rewrites one of them before its turn has come.
  for (const table of tables) await tx.unsafe(`lock table only ${qualified(table)} in access share mode`);
  const bytesTotal = tables.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const written: ArchivedTable[] = [];
  let bytesDone = 0;
  for (const [index, table] of tables.entries()) {
    const onBytes = (bytes: number) => {
      bytesDone += bytes;
      options.onProgress({ table: `${table.schema}.${table.name}`, bytesDone, bytesTotal });
    };
    written.push(await writeTable(tx, table, index + 1, options, onBytes));
  }
  return written;
}

async function writeTable(
  tx: Sql,
  table: CatalogTable,
  number: number,
  { sink, seal, base }: WriteOptions,
  onBytes: (bytes: number) => void,
): Promise<ArchivedTable> {
  const prefix = `data/${String(number).padStart(4, "0")}`;
  const writer = new SegmentWriter({ sink, prefix, seal });
  const rows = await copyOut(tx, copyStatement(table, base), async (piece) => {
    await writer.write(piece);
    onBytes(piece.length);
  });
  const { schema, name, columns } = table;
  return { schema, name, columns: [...columns], rows, segments: await writer.end() };
}

/** An archive that continues another one has only the events that are new since, and those that were redacted. */
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

/**
 * Writes the files that made the schema into an archive, as a folder that a schema can be applied from.
 *
 * @param files in the order in which they are applied
 */
export async function writeSchema(
  sink: ArchiveSink,
  files: readonly { readonly name: string; readonly text: string }[],
): Promise<StoredFile[]> {
  const stored: StoredFile[] = [];
  for (const { name, text } of files) {
    const content = Buffer.from(text);
    const path = `sql/${name}`;
    await sink.put(path, content);
    stored.push({ path, bytes: content.length, sha256: sha256(content) });
  }
  return stored;
}
