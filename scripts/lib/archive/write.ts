import manifestOfPackage from "../../../package.json" with { type: "json" };
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { explainServerError } from "../cli/server-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { messageWithCode } from "../postgres/failure.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { type CatalogTable, columnList, copySettings, qualified, readSequences, readTables } from "./catalog.ts";
import { copyOut } from "./copy.ts";
import { hasLargeObjects, selectObjects, selectPages } from "./large-objects.ts";
import {
  type ArchivedTable,
  formatVersion,
  type Manifest,
  manifestName,
  type StoredFile,
  serializeManifest,
} from "./manifest.ts";
import { type OnPiece, type OnProgress, trackProgress } from "./progress.ts";
import { isRefusal } from "./restore-error.ts";
import type { Seal } from "./seal.ts";
import { compressionLevel, type SegmentTarget, SegmentWriter, sha256 } from "./segment.ts";
import type { ArchiveSink } from "./sink.ts";

/** How to write an archive. */
export interface WriteOptions extends Pick<Manifest, "id" | "order" | "only"> {
  readonly sink: ArchiveSink;
  readonly seal: Seal;
  /** Describes the schema as of a snapshot. */
  readonly describeSchema: (tx: Sql) => Promise<SchemaDescription>;
  /**
   * Puts nothing into the sink before the schema is described. Otherwise rows are written meanwhile, and the archive
   * cannot have a base.
   */
  readonly describeFirst: boolean;
  /** Taken before the snapshot: see `event_store.safe_position`. */
  readonly safePosition: string;
  readonly onProgress: OnProgress;
}

/** The schema of an archive. */
export interface SchemaDescription extends SchemaFacts {
  readonly preData: string;
  readonly postData: string;
}

/** What the manifest records about the schema and the database. */
export type SchemaFacts = Pick<
  Manifest,
  "server" | "database" | "databaseFacts" | "base" | "logSchema" | "applied" | "needs" | "views" | "omitted"
>;

/**
 * Writes an archive of everything a database contains, from one snapshot. Concurrent writes continue, and are not in
 * it.
 *
 * @param sql a single connection, with a role that can read all tables
 * @returns the manifest, which is the last file of the archive
 */
export async function writeArchive(sql: Sql, options: WriteOptions): Promise<Manifest> {
  const { sink, id, order, only, safePosition, seal } = options;
  const startedAt = new Date().toISOString();
  const locked = (await readTables(sql)).map(qualified);
  const snapshot = async (tx: Sql) => {
    await tx.unsafe(copySettings).simple();
    // Before the first query, which takes the snapshot: afterwards, catalog and snapshot agree about these tables.
    await lockTables(tx, locked);
    await using description = new Description(options.describeSchema(tx));
    const base = options.describeFirst ? (await description.result).base : null;
    const rows = await writeRows(tx, base, description.failure, options);
    const { preData, postData, ...facts } = await description.result;
    const schema = {
      preData: await putText(sink, "schema/pre-data.sql", preData),
      postData: await putText(sink, "schema/post-data.sql", postData),
    };
    const sequences = await readSequences(tx);
    return { ...facts, ...rows, schema, sequences, ...(await readLogEnd(tx, safePosition)) };
  };
  const content = await inTransaction(sql, snapshot, "isolation level repeatable read read only");
  const manifest: Manifest = {
    format: formatVersion,
    id,
    order,
    base: content.base,
    only,
    tool: manifestOfPackage.version,
    server: content.server,
    database: content.database,
    databaseFacts: content.databaseFacts,
    startedAt,
    endedAt: new Date().toISOString(),
    safePosition,
    safeEvent: content.safeEvent,
    lastPosition: content.lastPosition,
    logSchema: content.logSchema,
    applied: content.applied,
    needs: content.needs,
    schema: content.schema,
    tables: content.tables,
    sequences: content.sequences,
    largeObjects: content.largeObjects,
    views: content.views,
    omitted: content.omitted,
    compression: { codec: "zstd", level: compressionLevel },
    encryption: seal.encryption,
  };
  await sink.flush();
  await sink.put(manifestName, Buffer.from(serializeManifest(manifest)));
  await sink.flush();
  return manifest;
}

/** A description of the schema that is being made. Disposal waits until that has ended, because it uses the transaction. */
class Description implements AsyncDisposable {
  readonly result: Promise<SchemaDescription>;
  readonly #failure = new AbortController();

  constructor(result: Promise<SchemaDescription>) {
    this.result = result;
    result.catch((error: unknown) => this.#failure.abort(error));
  }

  /** Aborted once the description has failed, with its error. */
  get failure(): AbortSignal {
    return this.#failure.signal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.result.catch(() => {});
  }
}

/** Whether a table belongs to the log, or is the ledger of the schema. */
export function isOfLog({ schema, name }: Pick<CatalogTable, "schema" | "name">): boolean {
  return schema === "event_store" || (schema === "public" && name === "schema_migration");
}

/** Prevents tables from being dropped, altered or rewritten before they are read. */
async function lockTables(tx: Sql, tables: readonly string[]): Promise<void> {
  if (tables.length > 0) await tx.unsafe(`lock table only ${tables.join(", only ")} in access share mode`).simple();
}

async function putText(sink: ArchiveSink, path: string, text: string): Promise<StoredFile> {
  const content = Buffer.from(text);
  await sink.put(path, content);
  return { path, bytes: content.length, sha256: sha256(content) };
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

/** @param failure stops the writing once it is aborted, with its reason */
async function writeRows(
  tx: Sql,
  base: Manifest["base"],
  failure: AbortSignal,
  options: WriteOptions,
): Promise<Pick<Manifest, "tables" | "largeObjects">> {
  const all = await readTables(tx);
  const tables = options.only === null ? all : all.filter(isOfLog);
  const bytesTotal = tables.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const track = trackProgress(bytesTotal, options.onProgress);
  const onPiece: OnPiece = (table, piece) => {
    failure.throwIfAborted();
    track(table, piece);
  };
  const { sink, seal } = options;
  const written: ArchivedTable[] = [];
  for (const [index, table] of tables.entries()) {
    const prefix = `data/${String(index + 1).padStart(4, "0")}`;
    written.push(await writeTable(tx, table, copyStatement(table, base), { sink, seal, prefix, onPiece }));
  }
  return { tables: written, largeObjects: options.only === null ? await writeLargeObjects(tx, options) : null };
}

async function writeLargeObjects(tx: Sql, { sink, seal }: WriteOptions): Promise<Manifest["largeObjects"]> {
  if (!(await hasLargeObjects(tx))) return null;
  const write = (name: string, columns: readonly string[], query: string) => {
    const target = { sink, seal, prefix: `data/${name}`, onPiece: () => {} };
    return writeTable(tx, { schema: "pg_catalog", name, columns }, `copy (${query}) to stdout`, target);
  };
  return {
    objects: await write("large-objects", ["oid", "owner", "acl", "comment"], selectObjects),
    pages: await write("large-object-pages", ["oid", "page", "data"], selectPages),
  };
}

interface TableTarget extends SegmentTarget {
  readonly onPiece: OnPiece;
}

async function writeTable(
  tx: Sql,
  { schema, name, columns }: Pick<CatalogTable, "schema" | "name" | "columns">,
  statement: string,
  target: TableTarget,
): Promise<ArchivedTable> {
  await using writer = new SegmentWriter(target);
  const rows = await copyOut(tx, statement, async (piece) => {
    await writer.write(piece);
    target.onPiece({ schema, name }, piece);
  }).catch((error: unknown) => {
    throw isRefusal(error) ? unreadableTable(qualified({ schema, name }), error as Error) : error;
  });
  return { schema, name, columns: [...columns], rows, segments: await writer.end() };
}

/** For example, a row is longer than COPY can send. */
function unreadableTable(table: string, error: Error): unknown {
  const explained = explainServerError(error);
  if (explained !== error) return explained;
  return new ScriptError({
    code: "TABLE_UNREADABLE",
    exitCode: exitCodes.prerequisite,
    message: `PostgreSQL cannot send the rows of ${table}`,
    why: messageWithCode(error),
    fix:
      "If a row is too long (COPY sends at most 1 GB, and a bytea takes twice its size), shorten it. If not, repair " +
      "the table. To archive only events: --only event_store.",
  });
}

/** An incremental archive contains only the events since its base, and those that were redacted. */
function copyStatement(table: CatalogTable, base: Manifest["base"]): string {
  const columns = columnList(table.columns);
  const isLog = table.schema === "event_store" && table.name === "domain_event";
  if (base !== null && isLog) {
    return `copy (
      select ${columns.slice(1, -1)} from event_store.domain_event as event
      where global_position > ${BigInt(base.safePosition)} or exists (
        select from event_store.redaction
        where stream_id = event.stream_id and aggregate_version = event.aggregate_version)
    ) to stdout`;
  }
  if (table.condition === "") return `copy ${qualified(table)} ${columns} to stdout`;
  return `copy (select ${columns.slice(1, -1)} from ${qualified(table)} ${table.condition}) to stdout`;
}
