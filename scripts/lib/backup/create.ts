import { archiveId, listArchives, nextOrder, publishArchive } from "../archive/folder.ts";
import { countBytes, countRows, type Manifest } from "../archive/manifest.ts";
import type { OnProgress } from "../archive/progress.ts";
import type { Seal } from "../archive/seal.ts";
import type { ArchiveSink, PublishedArchive } from "../archive/sink.ts";
import { publishTar, sendTar, standardStream } from "../archive/tar.ts";
import { readEventAt, writeArchive } from "../archive/write.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { groupRoles, readAdministrator } from "../postgres/logins/roles.ts";
import { DumpThread } from "../postgres/pg-dump/bridge.ts";
import { isBun } from "../runtime.ts";
import { requireAdministrator } from "../stack/administrator.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { backupsDir } from "./backups-dir.ts";
import { describeSchema } from "./describe-schema.ts";
import { type EncryptionOptions, sealForWriting } from "./key.ts";
import { type ArchiveContext, lockHolderName, withArchivesLocked } from "./lock.ts";

/** What to back up, and where to. */
export interface BackupOptions {
  /** The folder that contains the archives; the stack's own if undefined. */
  readonly to?: string | undefined;
  /** Writes a tar file instead of a folder; `-` for stdout. */
  readonly output?: string | undefined;
  /** Writes only what is new since the last full archive in the folder. */
  readonly incremental?: boolean;
  /** Leaves out the rows of all other schemas, except the ledger. */
  readonly onlyEventStore?: boolean;
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
  /** What the archive does not contain, one phrase each. */
  readonly omitted: readonly string[];
}

/**
 * Writes an archive of the stack's database. The archive gets its final name only once it is complete.
 *
 * It is taken from one snapshot, which is not a prefix of the log: of two events in flight, it may contain only the
 * later one. Guaranteed: each stream is a prefix without gaps, no checkpoint is ahead of the log, and the next append
 * gets a higher position.
 *
 * It contains every object of the database, those of applications too. What it cannot contain is reported.
 *
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder; `NO_BASE` (exit 8); `ARCHIVE_KEY` or `ARCHIVE_EXISTS`
 * (exit 2); `PRIVILEGES` or `DUMP_FAILED` (exit 9)
 */
export async function createBackup(stack: Stack, options: BackupOptions, run: RunContext): Promise<BackupResult> {
  const target = await requireAdministrator(stack);
  const lock = { stack, target, run, command: "backup" };
  return withArchivesLocked(lock, (context) => createLockedBackup(context, options));
}

/** Does what {@link createBackup} does, for a command that holds the lock already. */
export async function createLockedBackup(context: ArchiveContext, options: BackupOptions): Promise<BackupResult> {
  const { path, manifest } = await writeBackup(context, options);
  const { id, database, tables, lastPosition, omitted } = manifest;
  if (omitted.length > 0) context.run.reporter.warn(`not in the archive: ${omitted.join(", ")}`);
  const totals = { tables: tables.length, rows: countRows(manifest), lastPosition, sizeBytes: countBytes(manifest) };
  return { archive: path, id, database, ...totals, omitted };
}

async function writeBackup(context: ArchiveContext, options: BackupOptions): Promise<PublishedArchive> {
  const { database } = context.target;
  const { output, onProgress, encryption = { encrypt: false, keyFile: undefined } } = options;
  const folder = options.to ?? backupsDir(context.stack);
  const now = new Date();
  const id = archiveId(database, now);
  const order = output === undefined ? await nextOrder(folder, now) : now.getTime();
  const only = options.onlyEventStore === true ? ("event_store" as const) : null;
  const seal = await sealForWriting(context.stack, encryption, id);
  const bases = options.incremental === true ? await listBases(folder, database) : undefined;
  // What was sent to stdout cannot be replaced. The schema decides what an incremental archive may be based on.
  // On Deno, pg_dump and the rows together would take 65 MB more than one after the other.
  const describeFirst = output === standardStream || bases !== undefined || !isBun();
  return await whileTablesChange((onDescribed) => {
    const snapshot = { id, order, only, seal, bases, describeFirst, onDescribed, onProgress };
    const write = (sink: ArchiveSink) => writeSnapshot(context, { sink, ...snapshot });
    if (output === undefined) return publishArchive(folder, id, write);
    return output === standardStream ? sendTar(write) : publishTar(output, id, write);
  });
}

/** Lists the full archives of a database, newest first. */
async function listBases(folder: string, database: string): Promise<Manifest[]> {
  const { archives } = await listArchives(folder);
  const manifests = archives.map(({ manifest }) => manifest);
  return manifests.filter((manifest) => manifest.base === null && manifest.database === database).toReversed();
}

interface SnapshotOptions extends Pick<Manifest, "id" | "order" | "only"> {
  readonly sink: ArchiveSink;
  readonly seal: Seal;
  /** Full archives that an incremental one may be based on, newest first; undefined to write a full one. */
  readonly bases: readonly Manifest[] | undefined;
  readonly describeFirst: boolean;
  /** Called once the schema is described. */
  readonly onDescribed: () => void;
  readonly onProgress: OnProgress;
}

async function writeSnapshot(
  context: ArchiveContext,
  { bases, onDescribed, ...options }: SnapshotOptions,
): Promise<Manifest> {
  // First, because it compiles pg_dump while this connects.
  await using thread = new DumpThread();
  const { isSuperuser } = await readAdministrator(context.maintenance);
  const role = isSuperuser ? undefined : groupRoles.owner;
  await using connection = openConnection(context.target, {
    applicationName: lockHolderName("backup"),
    signal: context.run.signal,
    ...(role === undefined ? {} : { role }),
  });
  const { sql } = connection;
  const [position] = await sql<{ safe: string }[]>`select event_store.safe_position()::text as safe`;
  return await writeArchive(sql, {
    ...options,
    safePosition: position?.safe ?? "0",
    async describeSchema(tx) {
      const { target, run } = context;
      const described = await describeSchema(tx, { target, role, thread, signal: run.signal });
      // Its memory would add to that of the rows.
      await thread[Symbol.asyncDispose]();
      const base = bases === undefined ? null : await chooseBase(tx, bases, described.logSchema);
      onDescribed();
      return { ...described, base };
    },
  });
}

const undefinedTable = "42P01";
const insufficientPrivilege = "42501";
const attempts = 5;

/**
 * Starts again if a table was dropped before it was locked, or if a session that is about to change a table stands
 * between the locks of this run and those of pg_dump.
 *
 * @param work calls back once it has described the schema; until then, it has written nothing that is not replaced
 */
async function whileTablesChange<Result>(work: (onDescribed: () => void) => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    let isDescribed = false;
    try {
      return await work(() => {
        isDescribed = true;
      });
    } catch (error) {
      const mayPass = errorCode(error) === undefinedTable || errorCode(error) === "LOCKED";
      if (!isDescribed && mayPass && attempt < attempts) continue;
      throw errorCode(error) === insufficientPrivilege ? notReadable(error as Error) : error;
    }
  }
}

function notReadable({ message }: Error): ScriptError {
  return new ScriptError({
    code: "PRIVILEGES",
    exitCode: exitCodes.prerequisite,
    message: "The administrator cannot read everything in the database",
    why: message,
    fix: `Back up as a superuser, or make ${groupRoles.owner} a member of the role that owns this.`,
  });
}

/**
 * Finds the newest full archive whose log the database's log continues.
 *
 * @throws {ScriptError} `NO_BASE` (exit 8)
 */
async function chooseBase(sql: Sql, bases: readonly Manifest[], logSchema: string): Promise<Manifest["base"]> {
  for (const base of bases) {
    const { id, safePosition } = base;
    if (base.logSchema === logSchema && (await isContinued(sql, base))) return { id, safePosition };
  }
  throw new ScriptError({
    code: "NO_BASE",
    exitCode: exitCodes.refused,
    message: "There is no full archive to base an incremental one on",
    why: `Full archives of this database in this folder: ${bases.length}. None has this schema and this log.`,
    fix: `Run ${runLine("backup")}, which writes a full archive.`,
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
