import { dumpApplicationObjects } from "../archive/application-objects.ts";
import { archiveId, listArchives, publishArchive } from "../archive/folder.ts";
import { countBytes, countRows, type Manifest } from "../archive/manifest.ts";
import type { OnProgress } from "../archive/progress.ts";
import type { Seal } from "../archive/seal.ts";
import type { ArchiveSink } from "../archive/sink.ts";
import { publishTar, sendTar, standardStream } from "../archive/tar.ts";
import { readEventAt, writeArchive } from "../archive/write.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type ConnectionTarget, openConnection, type Sql } from "../postgres/connect.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { type CatalogFingerprint, compareFingerprints, readFingerprint } from "../schema/fingerprint.ts";
import { planSchema, readLedger } from "../schema/ledger.ts";
import { readSchema, type SchemaFile } from "../schema/source.ts";
import { administratorTarget, type RunContext, type Stack } from "../stack/stack.ts";
import { type ArchivedSchema, putSchema } from "./archived-schema.ts";
import { backupsDir } from "./backups-dir.ts";
import { type EncryptionOptions, sealForWriting } from "./key.ts";
import { lockHolderName, withArchivesLocked } from "./lock.ts";
import { checkNoDrift, createScratchDatabase } from "./scratch-database.ts";

/** What to back up, and where to. */
export interface BackupOptions {
  /** The folder of archives; the stack's own when left out. */
  readonly to?: string | undefined;
  /** A tar file in place of a folder; `-` for stdout. */
  readonly output?: string | undefined;
  /** Only what is new since the last full archive in the folder. */
  readonly incremental?: boolean;
  readonly encryption?: EncryptionOptions;
  readonly onProgress: OnProgress;
}

/** An archive that was written. */
export interface BackupResult {
  /** Its folder or tar file; `-` for stdout. */
  readonly archive: string;
  readonly id: string;
  readonly database: string;
  readonly tables: number;
  readonly rows: number;
  /** Position of the last event in it. */
  readonly lastPosition: string;
  readonly sizeBytes: number;
}

/**
 * Writes an archive of the stack's database: from one snapshot, under its name only when it is whole.
 *
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder, `CATALOG_DRIFT` or `SCHEMA_DRIFT` (exit 4) when the schema is
 * not what the migrations make, since an archive carries these
 */
export async function createBackup(stack: Stack, options: BackupOptions, run: RunContext): Promise<BackupResult> {
  const target = await administratorTarget(stack);
  return withArchivesLocked(target, "backup", run.signal, async (maintenance) => {
    const id = archiveId(target.database, new Date());
    const folder = options.to ?? backupsDir(stack);
    const { output, onProgress } = options;
    const seal = await sealForWriting(stack, options.encryption ?? { encrypt: false, keyFile: undefined }, id);
    const candidates = options.incremental === true ? await listBases(folder, target.database) : undefined;
    let manifest: Manifest | undefined;
    const write = async (sink: ArchiveSink) => {
      const to = { sink, id, seal, candidates, onProgress };
      manifest = await writeFromSnapshot(stack, target, maintenance, to, run);
    };
    const archive = output === undefined ? await publishArchive(folder, id, write) : await writeTar(output, id, write);
    return describeBackup(archive, manifest as unknown as Manifest);
  });
}

async function writeTar(output: string, id: string, write: (sink: ArchiveSink) => Promise<void>): Promise<string> {
  if (output !== standardStream) return publishTar(output, id, write);
  await sendTar(write);
  return output;
}

/** Full archives of the database, the newest first. */
async function listBases(folder: string, database: string): Promise<Manifest[]> {
  const manifests = (await listArchives(folder)).map(({ manifest }) => manifest);
  return manifests.filter((manifest) => manifest.base === null && manifest.database === database).toReversed();
}

/**
 * Finds the archive that the database's log continues. A restore may have turned the log back in between, and the same
 * positions were drawn again; then the event at the end of that archive is another one, or none.
 *
 * @throws {ScriptError} `NO_BASE` (exit 8)
 */
async function chooseBase(
  sql: Sql,
  candidates: readonly Manifest[],
  fingerprint: CatalogFingerprint,
): Promise<Manifest["base"]> {
  for (const { id, safePosition, safeEvent, fingerprint: theirs } of candidates) {
    const isContinued = isSameLog(theirs, fingerprint) && (await readEventAt(sql, safePosition)) === safeEvent;
    if (isContinued) return { id, safePosition };
  }
  throw new ScriptError({
    code: "NO_BASE",
    exitCode: exitCodes.refused,
    message: "There is no full archive that an incremental one could continue",
    why: `Of ${candidates.length} in this folder none has this schema and this log.`,
    fix: "bun run backup",
  });
}

/** Of a base only the log is read: what the application made beside it may have changed. */
function isSameLog(theirs: CatalogFingerprint, ours: CatalogFingerprint): boolean {
  return !compareFingerprints(theirs, ours).some((difference) => / event_store\./.test(difference));
}

interface WriteTarget {
  readonly candidates: readonly Manifest[] | undefined;
  readonly onProgress: BackupOptions["onProgress"];
  readonly sink: ArchiveSink;
  readonly id: string;
  readonly seal: Seal;
}

async function writeFromSnapshot(
  stack: Stack,
  target: ConnectionTarget,
  maintenance: Sql,
  { sink, id, seal, candidates, onProgress }: WriteTarget,
  run: RunContext,
): Promise<Manifest> {
  await using connection = openConnection(target, {
    applicationName: lockHolderName("backup"),
    role: groupRoles.owner,
    signal: run.signal,
  });
  const { sql } = connection;
  const [position] = await sql<{ safe: string }[]>`select event_store.safe_position()::text as safe`;
  return await writeArchive(sql, {
    sink,
    id,
    seal,
    safePosition: position?.safe ?? "0",
    putSchema: async (tx) => {
      const made = { files: await readAppliedFiles(tx), application: await dumpApplicationObjects(tx) };
      const fingerprint = await readFingerprint(tx);
      checkNoDrift(await fingerprintOfSchema(stack, maintenance, target, made, run), fingerprint, strangeSchema);
      const base = candidates === undefined ? null : await chooseBase(tx, candidates, fingerprint);
      return { schema: await putSchema(sink, made), fingerprint, base };
    },
    onProgress,
  });
}

const strangeSchema = "The schema is not what its migrations make, and an archive would lose the rest";

/** A database made for this alone tells what the files make. */
async function fingerprintOfSchema(
  stack: Stack,
  maintenance: Sql,
  target: ConnectionTarget,
  schema: ArchivedSchema,
  run: RunContext,
): Promise<CatalogFingerprint> {
  await using scratch = await createScratchDatabase(stack, maintenance, target, "scratch", schema, run);
  return scratch.fingerprint;
}

/**
 * Finds the files that made the schema.
 *
 * @throws {ScriptError} `SCHEMA_DRIFT`, `SCHEMA_PENDING` (exit 4) when they are not here any more as they were applied
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
    message: "The files that made this schema have changed since, and an archive carries them",
    why: changed.join(", "),
    fix: "bun run schema apply",
  });
}

function describeBackup(archive: string, manifest: Manifest): BackupResult {
  const { id, database, tables, lastPosition } = manifest;
  const rows = countRows(manifest);
  return { archive, id, database, tables: tables.length, rows, lastPosition, sizeBytes: countBytes(manifest) };
}
