import { dumpApplicationObjects } from "../archive/application-objects.ts";
import { archiveId, listArchives, publishArchive } from "../archive/folder.ts";
import { countBytes, countRows, type Manifest } from "../archive/manifest.ts";
import type { OnProgress } from "../archive/progress.ts";
import type { Seal } from "../archive/seal.ts";
import type { ArchiveSink, PublishedArchive } from "../archive/sink.ts";
import { publishTar, sendTar, standardStream } from "../archive/tar.ts";
import { readEventAt, writeArchive } from "../archive/write.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { type CatalogFingerprint, compareFingerprints, readFingerprint } from "../schema/fingerprint.ts";
import { planSchema, readLedger } from "../schema/ledger.ts";
import { readSchema, type SchemaFile } from "../schema/source.ts";
import { administratorTarget, type RunContext, type Stack } from "../stack/stack.ts";
import { type ArchivedSchema, putSchema } from "./archived-schema.ts";
import { backupsDir } from "./backups-dir.ts";
import { type EncryptionOptions, sealForWriting } from "./key.ts";
import { type ArchiveContext, lockHolderName, withArchivesLocked } from "./lock.ts";
import { checkNoDrift, createScratchDatabase } from "./scratch-database.ts";

/** What to back up, and where to. */
export interface BackupOptions {
  /** The folder that contains the archives; the stack's own if undefined. */
  readonly to?: string | undefined;
  /** Writes a tar file instead of a folder; `-` for stdout. */
  readonly output?: string | undefined;
  /** Writes only what is new since the last full archive in the folder. */
  readonly incremental?: boolean;
  readonly encryption?: EncryptionOptions;
  readonly onProgress: OnProgress;
}

/** The archive that was written. */
export interface BackupResult {
  /** Its folder or tar file; `-` for stdout. */
  readonly archive: string;
  readonly id: string;
  readonly database: string;
  readonly tables: number;
  readonly rows: number;
  /** Position of the last event in the archive. */
  readonly lastPosition: string;
  readonly sizeBytes: number;
}

/**
 * Writes an archive of the stack's database. The archive gets its final name only once it is complete.
 *
 * It is taken from one snapshot, which is not a prefix of the log: of two events in flight, it may contain only the
 * later one. Guaranteed: each stream is a prefix without gaps, no checkpoint is ahead of the log, and the next append
 * gets a higher position.
 *
 * An archive contains its schema as migrations, so the schema must be exactly what the migrations create.
 *
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder; `CATALOG_DRIFT`, `SCHEMA_DRIFT` or `SCHEMA_PENDING` (exit 4)
 * if the migrations do not create this schema; `NO_BASE` (exit 8); `ARCHIVE_KEY` or `ARCHIVE_EXISTS` (exit 2)
 */
export async function createBackup(stack: Stack, options: BackupOptions, run: RunContext): Promise<BackupResult> {
  const target = await administratorTarget(stack);
  return withArchivesLocked({ stack, target, run, command: "backup" }, async (context) => {
    const { path, manifest } = await writeBackup(context, options);
    const { id, database, tables, lastPosition } = manifest;
    const totals = { tables: tables.length, rows: countRows(manifest), lastPosition, sizeBytes: countBytes(manifest) };
    return { archive: path, id, database, ...totals };
  });
}

async function writeBackup(context: ArchiveContext, options: BackupOptions): Promise<PublishedArchive> {
  const { database } = context.target;
  const { output, onProgress, encryption = { encrypt: false, keyFile: undefined } } = options;
  const folder = options.to ?? backupsDir(context.stack);
  const id = archiveId(database, new Date());
  const seal = await sealForWriting(context.stack, encryption, id);
  const bases = options.incremental === true ? await listBases(folder, database) : undefined;
  const write = (sink: ArchiveSink) => writeSnapshot(context, { sink, id, seal, bases, onProgress });
  if (output === undefined) return publishArchive(folder, id, write);
  return output === standardStream ? sendTar(write) : publishTar(output, id, write);
}

/** Lists the full archives of a database, newest first. */
async function listBases(folder: string, database: string): Promise<Manifest[]> {
  const { archives } = await listArchives(folder);
  const manifests = archives.map(({ manifest }) => manifest);
  return manifests.filter((manifest) => manifest.base === null && manifest.database === database).toReversed();
}

interface SnapshotOptions {
  readonly sink: ArchiveSink;
  readonly id: string;
  readonly seal: Seal;
  /** Full archives that an incremental one may be based on, newest first; undefined to write a full one. */
  readonly bases: readonly Manifest[] | undefined;
  readonly onProgress: OnProgress;
}

async function writeSnapshot(
  context: ArchiveContext,
  { sink, id, seal, bases, onProgress }: SnapshotOptions,
): Promise<Manifest> {
  await using connection = openConnection(context.target, {
    applicationName: lockHolderName("backup"),
    role: groupRoles.owner,
    signal: context.run.signal,
  });
  const { sql } = connection;
  const [position] = await sql<{ safe: string }[]>`select event_store.safe_position()::text as safe`;
  return await writeArchive(sql, {
    sink,
    id,
    seal,
    safePosition: position?.safe ?? "0",
    putSchema: async (tx) => {
      const schema = { files: await readAppliedFiles(tx), applicationSql: await dumpApplicationObjects(tx) };
      const fingerprint = await readFingerprint(tx);
      checkNoDrift(await fingerprintOfSchema(context, schema), fingerprint, incompleteMigrations);
      const base = bases === undefined ? null : await chooseBase(tx, bases, fingerprint);
      return { schema: await putSchema(sink, schema), fingerprint, base };
    },
    onProgress,
  });
}

const incompleteMigrations = "The migrations do not create this schema, so an archive would be incomplete";

/** Creates a temporary database from the files and reads its fingerprint. */
async function fingerprintOfSchema(context: ArchiveContext, schema: ArchivedSchema): Promise<CatalogFingerprint> {
  await using scratch = await createScratchDatabase(context, "scratch", schema);
  return scratch.fingerprint;
}

/**
 * Finds the newest full archive whose log the database's log continues.
 *
 * @throws {ScriptError} `NO_BASE` (exit 8)
 */
async function chooseBase(
  sql: Sql,
  bases: readonly Manifest[],
  fingerprint: CatalogFingerprint,
): Promise<Manifest["base"]> {
  for (const base of bases) {
    const { id, safePosition } = base;
    if (isSameSchema(base.fingerprint, fingerprint) && (await isContinued(sql, base))) return { id, safePosition };
  }
  throw new ScriptError({
    code: "NO_BASE",
    exitCode: exitCodes.refused,
    message: "There is no full archive to base an incremental one on",
    why: `Full archives of this database in this folder: ${bases.length}. None has this schema and this log.`,
    fix: "Run bun run backup, which writes a full archive.",
  });
}

/**
 * After a restore of an older archive, the log has a different event, or none, where an archive from before that
 * restore ends. If it has the same one, it may still lack an event below: then an epoch began below it, later.
 */
async function isContinued(sql: Sql, { safePosition, safeEvent, tables }: Manifest): Promise<boolean> {
  if ((await readEventAt(sql, safePosition)) !== safeEvent) return false;
  const archivedEpochs = tables.find(({ schema, name }) => schema === "event_store" && name === "log_epoch")?.rows ?? 0;
  const [rewound] = await sql`
    select from event_store.log_epoch
    where epoch_number > ${archivedEpochs} and began_after < ${safePosition}::bigint limit 1`;
  return rewound === undefined;
}

/** A restore reads only the log from a base, so objects outside the event store may differ. */
function isSameSchema(archived: CatalogFingerprint, current: CatalogFingerprint): boolean {
  return !compareFingerprints(archived, current).some((difference) => / event_store\./.test(difference));
}

/**
 * Finds the files that created the schema.
 *
 * @throws {ScriptError} `SCHEMA_DRIFT` or `SCHEMA_PENDING` (exit 4) if they have changed since they were applied
 */
async function readAppliedFiles(sql: Sql): Promise<SchemaFile[]> {
  const files = await readSchema();
  const { applied, pending } = planSchema(files, await readLedger(sql));
  const names = new Set(applied.map(({ name }) => name));
  const changed = pending.filter(({ name }) => names.has(name)).map(({ name }) => name);
  if (changed.length === 0) return files.filter(({ name }) => names.has(name));
  throw new ScriptError({
    code: "SCHEMA_PENDING",
    exitCode: exitCodes.drift,
    message: "Schema files that the archive would contain have changed since they were applied",
    why: changed.join(", "),
    fix: "Run bun run schema apply, which applies them.",
  });
}
