import type { Sql } from "../postgres/driver.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { columnList, copySettings, type QualifiedName, qualified } from "./catalog.ts";
import { copyIn } from "./copy.ts";
import { cutLog, type LogEnd, renumberRedactions } from "./cut.ts";
import { createObjects, loadedObjects, loadedPages, prepareObjects } from "./large-objects.ts";
import { type ArchivedTable, corrupt, type Manifest, storedTables } from "./manifest.ts";
import { type OnPiece, type OnProgress, trackProgress } from "./progress.ts";
import { isRefusal, namingObject } from "./restore-error.ts";
import { readSchemaScript, type SchemaScript } from "./schema-script.ts";
import type { Seal } from "./seal.ts";
import { readSegment } from "./segment.ts";
import { isOfLog } from "./write.ts";

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
  /** Leaves the tables of all other schemas empty, except the ledger, and leaves out what applications created. */
  readonly onlyEventStore: boolean;
  /** The last event to keep; all events if undefined. */
  readonly until: LogEnd | undefined;
  readonly onProgress: OnProgress;
  /** Receives what could not be restored although everything else was. */
  readonly onWarning: (text: string) => void;
}

/** What was loaded. */
export interface LoadedArchive {
  /** The position up to which the loaded log lacks none of the events of the log that was archived. */
  readonly end: bigint;
  /** The number of rows in the database, apart from large objects. */
  readonly rows: number;
  /** Materialized views that could not be refreshed. */
  readonly notRefreshed: readonly string[];
}

const log = { schema: "event_store", name: "domain_event" } as const;

/**
 * Restores an archive into a new, empty database: objects and rows in one transaction, then the materialized views.
 *
 * @param sql a single connection of the administrator
 * @throws {ScriptError} `ARCHIVE_CORRUPT`, or `RESTORE_FAILED` (exit 11) with the object that PostgreSQL refuses
 */
export async function loadArchive(sql: Sql, source: ArchiveSource, options: LoadOptions): Promise<LoadedArchive> {
  const script = await readSchemaScript(sql, { ...options, dir: source.dir, schema: source.manifest.schema });
  const tables = source.manifest.tables.filter((table) => !options.onlyEventStore || isOfLog(table));
  const { end, rows } = await inTransaction(sql, (tx) => loadContents(tx, script, tables, source, options));
  const notRefreshed = options.onlyEventStore ? [] : await refreshViews(sql, source.manifest.views, options);
  await script.runLast(sql);
  await analyze(sql, tables, options);
  return { end, rows, notRefreshed };
}

async function loadContents(
  tx: Sql,
  script: SchemaScript,
  tables: readonly ArchivedTable[],
  source: ArchiveSource,
  options: LoadOptions,
): Promise<Pick<LoadedArchive, "end" | "rows">> {
  const complete = BigInt(source.manifest.safePosition);
  await script.runPreData(tx);
  await tx.unsafe(`${copySettings}; set local maintenance_work_mem = '256MB'`).simple();
  // COPY FREEZE refuses a table that is older than the last savepoint that was rolled back.
  if (options.onlyEventStore) await tx.unsafe(`truncate only ${tables.map(qualified).join(", only ")}`);
  const loaded = await loadTables(tx, tables, source, options);
  const cut = options.until === undefined ? { position: complete, deleted: 0 } : await cutLog(tx, options.until);
  await renumberRedactions(tx);
  await setSequences(tx, source.manifest);
  await script.runPostData(tx);
  return { end: cut.position < complete ? cut.position : complete, rows: loaded - cut.deleted };
}

/** @returns the number of rows that are in the tables now */
async function loadTables(
  tx: Sql,
  tables: readonly ArchivedTable[],
  source: ArchiveSource,
  options: LoadOptions,
): Promise<number> {
  const all = [...(options.base?.manifest.tables ?? []), ...storedTables(source.manifest)];
  const bytesTotal = all.flatMap(({ segments }) => segments).reduce((sum, { rawBytes }) => sum + rawBytes, 0);
  const onPiece = trackProgress(bytesTotal, options.onProgress);
  let rows = 0;
  // The log comes last, because loading the base needs the redaction records.
  for (const table of tables.toSorted((a, b) => Number(isLog(a)) - Number(isLog(b)))) {
    if (isLog(table) && options.base !== undefined) rows += await loadBase(tx, options.base, onPiece);
    rows += await loadTable(tx, table, source, onPiece);
  }
  if (!options.onlyEventStore) await loadLargeObjects(tx, source, onPiece);
  return rows;
}

/**
 * Loads the events that only the base contains: deletes those that the incremental archive contains as well.
 *
 * @returns the number of rows that remain
 */
async function loadBase(tx: Sql, base: ArchiveSource, onPiece: OnPiece): Promise<number> {
  const table = base.manifest.tables.find(isLog);
  if (table === undefined) throw corrupt(base.dir, "It does not contain the table event_store.domain_event.");
  const rows = await loadTable(tx, table, base, onPiece);
  const deleted = await tx`
    delete from event_store.domain_event as event
    where global_position > ${base.manifest.safePosition}::bigint or exists (
      select from event_store.redaction
      where stream_id = event.stream_id and aggregate_version = event.aggregate_version)`;
  return rows - deleted.count;
}

async function loadLargeObjects(tx: Sql, source: ArchiveSource, onPiece: OnPiece): Promise<void> {
  const { largeObjects } = source.manifest;
  if (largeObjects === null) return;
  await prepareObjects(tx);
  await loadTable(tx, largeObjects.objects, source, onPiece, loadedObjects);
  await loadTable(tx, largeObjects.pages, source, onPiece, loadedPages);
  await namingObject("large objects", () => createObjects(tx));
}

/** @returns the number of its rows */
async function loadTable(
  tx: Sql,
  table: ArchivedTable,
  source: ArchiveSource,
  onPiece: OnPiece,
  into: string = qualified(table),
): Promise<number> {
  const name = `${table.schema}.${table.name}`;
  const statement = `copy ${into} ${columnList(table.columns)} from stdin with (freeze)`;
  const rows = await namingObject(`rows of ${name}`, () => copyIn(tx, statement, readPieces(source, table, onPiece)));
  if (rows !== table.rows) throw corrupt(source.dir, `${name} has ${rows} rows, not ${table.rows}.`);
  return rows;
}

/** Reads and checks each segment while the server stores the previous one. */
async function* readPieces(
  { dir, seal }: ArchiveSource,
  table: ArchivedTable,
  onPiece: OnPiece,
): AsyncGenerator<Buffer> {
  const read = (index: number) => {
    const segment = table.segments[index];
    const pieces = segment === undefined ? undefined : readSegment(dir, segment, seal);
    pieces?.catch(() => {});
    return pieces;
  };
  let next = read(0);
  for (let index = 0; next !== undefined; index++) {
    const pieces: readonly Buffer[] = await next;
    next = read(index + 1);
    for (const piece of pieces) {
      yield piece;
      onPiece(table, piece);
    }
  }
}

/** Sets sequences, whose state does not follow from the rows. Skips those that were not restored. */
async function setSequences(tx: Sql, { sequences }: Manifest): Promise<void> {
  for (const { schema, name, lastValue, isCalled } of sequences) {
    await tx`select pg_catalog.setval(to_regclass(${qualified({ schema, name })}), ${lastValue}::bigint, ${isCalled})`;
  }
}

/** @returns the names of the views that could not be refreshed; they stay without rows */
async function refreshViews(sql: Sql, views: readonly QualifiedName[], { onWarning }: LoadOptions): Promise<string[]> {
  const failed: string[] = [];
  // As in the database that was archived, whose search path their functions may need.
  await sql.unsafe("reset search_path");
  for (const view of views) {
    try {
      await sql.unsafe(`refresh materialized view ${qualified(view)}`);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      failed.push(`${view.schema}.${view.name}`);
      onWarning(`${view.schema}.${view.name} could not be refreshed and is empty: ${(error as Error).message}`);
    }
  }
  return failed;
}

/** Without statistics, the planner would assume that the tables are nearly empty. */
async function analyze(sql: Sql, tables: readonly QualifiedName[], { onWarning }: LoadOptions): Promise<void> {
  for (const table of tables) {
    try {
      await sql.unsafe(`analyze ${qualified(table)}`);
    } catch (error) {
      // It calls the functions of indexes on expressions.
      if (!isRefusal(error)) throw error;
      onWarning(`${table.schema}.${table.name} has no statistics: ${(error as Error).message}`);
    }
  }
}

function isLog({ schema, name }: QualifiedName): boolean {
  return schema === log.schema && name === log.name;
}
