import { mergeFacts, readDatabaseFacts } from "../archive/database-facts.ts";
import { type ArchiveSource, type LoadedArchive, type LoadOptions, loadArchive } from "../archive/load.ts";
import { countRows, type Manifest } from "../archive/manifest.ts";
import { type OpenArchive, withArchive } from "../archive/open.ts";
import type { OnProgress } from "../archive/progress.ts";
import { usageError } from "../cli/errors.ts";
import { findNameProblem } from "../config.ts";
import { openConnection } from "../postgres/connect.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { checkNoViolations, readViolations } from "../schema/invariants.ts";
import { requireAdministrator } from "../stack/administrator.ts";
import { defaultSettings } from "../stack/database.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { findBackupsDir } from "./backups-dir.ts";
import { type ArchiveContext, connectToRestore, lockHolderName, withArchivesLocked } from "./lock.ts";
import { redactRestored } from "./redactions.ts";
import { checkRestorable, checkTarget, findProjectConflicts } from "./restore-checks.ts";
import { beginRestoredEpoch, skipDrawnPositions } from "./restored-epoch.ts";
import { applyNewFiles, createScratchDatabase } from "./scratch-database.ts";
import { checkSlots, readSlots } from "./slots.ts";
import { openSources, type Sources } from "./sources.ts";
import { dropDatabase, keptDatabase, readKeptDatabases, swapDatabases } from "./swap.ts";

/** What to restore, and where to. */
export interface RestoreOptions {
  /** `latest`, a name in the folder of archives, a path, or `-` for a tar stream from stdin. */
  readonly archive: string;
  /** The folder that contains the archives; the stack's own if undefined. */
  readonly from?: string | undefined;
  /** A file with the key of an encrypted archive; the key of the secret store if undefined. */
  readonly keyFile?: string | undefined;
  /** A database other than the stack's; it must be new or empty. */
  readonly into?: string | undefined;
  /** Drops the replaced database instead of keeping it. */
  readonly dropOld: boolean;
  /** Applies migrations that are newer than the archive. */
  readonly migrate: boolean;
  readonly onlyEventStore: boolean;
  readonly until: LoadOptions["until"];
  /** Stops after the checks that write nothing. */
  readonly dryRun: boolean;
  /** Called before anything is written, unless the target is empty; throws to cancel. */
  readonly confirm: (plan: RestorePlan) => Promise<void>;
  readonly onProgress: OnProgress;
}

/** What a restore is about to do. */
export interface RestorePlan {
  readonly archive: string;
  readonly endedAt: string;
  readonly rows: number;
  readonly database: string;
  /** The number of events in the database now; null if it does not exist or has no event store. */
  readonly eventsNow: number | null;
  /** The name under which the replaced database is kept; null if there is none or it is dropped. */
  readonly kept: string | null;
  /** Logical replication slots of the replaced database, which do not follow the restored one. */
  readonly slots: readonly string[];
}

/** What a restore did. */
export interface RestoreResult extends RestorePlan {
  readonly isRestored: boolean;
  /** Materialized views that could not be refreshed, and are empty. */
  readonly notRefreshed: readonly string[];
  /** Names of the files that were applied in addition to those in the archive. */
  readonly migrated: readonly string[];
  /** Number of events whose redaction was repeated: they were redacted after the archive was written. */
  readonly redacted: number;
}

/**
 * Restores an archive into a new database, which replaces the target once all checks have passed. Until then, the
 * target is unchanged, even if the run is killed.
 *
 * @throws {ScriptError} before anything is written: `USAGE` (exit 2) if `into` cannot be a name, `ARCHIVE_CORRUPT`,
 * `ARCHIVE_INCOMPLETE` (exit 11), `ARCHIVE_NEWER`, `ARCHIVE_NEEDS`, `NOT_EMPTY`, `SLOT_IN_USE` (exit 8), `SCHEMA_DRIFT`
 * (exit 4), `LOCKED` (exit 5); before the target is replaced: `RESTORE_FAILED`, `INVARIANT` (exit 11)
 */
export async function restoreArchive(stack: Stack, options: RestoreOptions, run: RunContext): Promise<RestoreResult> {
  if (options.into !== undefined) checkNewName(options.into);
  const folder = await findBackupsDir(stack, options.from);
  const request = { folder, requested: options.archive, signal: run.signal };
  return withArchive(request, (opened) => restoreOpened(stack, opened, options, run));
}

async function restoreOpened(
  stack: Stack,
  opened: OpenArchive,
  options: RestoreOptions,
  run: RunContext,
): Promise<RestoreResult> {
  const sources = await openSources(stack, opened, options.keyFile);
  const { manifest } = sources.archive;
  const live = await requireAdministrator(stack);
  const target = { ...live, database: options.into ?? live.database };
  // A part of the log is an archive's only content, or was asked for.
  const onlyEventStore = options.onlyEventStore || manifest.only !== null;
  return await withArchivesLocked({ stack, target, run, command: "restore" }, async (context) => {
    await checkRestorable(context.maintenance, manifest);
    for (const conflict of await findProjectConflicts(stack.config.sqlDir, manifest)) run.reporter.warn(conflict);
    const state = await checkTarget(context.maintenance, target, options.into !== undefined);
    const slots = await readSlots(context.maintenance, target.database);
    if (options.dropOld) checkSlots(slots);
    const plan: RestorePlan = {
      archive: opened.name,
      endedAt: manifest.endedAt,
      rows: countRows(manifest),
      database: target.database,
      eventsNow: state.events,
      kept: state.isEmpty || options.dropOld ? null : keptDatabase(target.database, new Date()),
      slots: slots.map(({ name }) => name),
    };
    if (options.dryRun) return { ...plan, isRestored: false, notRefreshed: [], migrated: [], redacted: 0 };
    if (!state.isEmpty) await options.confirm(plan);
    const replacement = { sources, live, exists: state.exists, plan };
    return await replaceTarget(context, replacement, { ...options, onlyEventStore });
  });
}

/**
 * Restores an archive into a temporary database, with all checks of a restore.
 *
 * @throws {ScriptError} as {@link restoreArchive}
 */
export async function rehearseRestore(
  stack: Stack,
  opened: OpenArchive,
  keyFile: string | undefined,
  run: RunContext,
): Promise<Manifest> {
  const { archive, base } = await openSources(stack, opened, keyFile);
  const target = await requireAdministrator(stack);
  return withArchivesLocked({ stack, target, run, command: "backup verify" }, async (context) => {
    const { databaseFacts, only, id } = archive.manifest;
    await checkRestorable(context.maintenance, archive.manifest);
    await using scratch = await createScratchDatabase(context, "scratch", databaseFacts);
    const everything = { base, onlyEventStore: only !== null, until: undefined, onProgress: undefined };
    const { end } = await load(scratch.target, archive, everything, run);
    await beginRestoredEpoch(scratch.target, { archive: id, end }, run);
    await checkInvariants(scratch.target, run);
    return archive.manifest;
  });
}

/**
 * Drops the databases that earlier restores replaced and kept.
 *
 * @param confirm called with their names before any is dropped, unless there is none; throws to cancel
 * @returns their names
 */
export async function dropKeptDatabases(
  stack: Stack,
  confirm: (names: readonly string[]) => Promise<void>,
  run: RunContext,
): Promise<string[]> {
  const target = await requireAdministrator(stack);
  await using maintenance = await connectForMaintenance(target, { signal: run.signal });
  const names = await readKeptDatabases(maintenance.sql, target.database);
  for (const name of names) checkSlots(await readSlots(maintenance.sql, name));
  if (names.length > 0) await confirm(names);
  for (const name of names) await dropDatabase(maintenance.sql, name);
  return names;
}

function checkNewName(into: string): void {
  const problem = findNameProblem(into);
  if (problem !== undefined) throw usageError(`--into ${problem}`, "Pass another name: --into <name>.");
}

interface Replacement {
  readonly sources: Sources;
  /** The stack's own database, which may be the target. */
  readonly live: ConnectionTarget;
  /** Whether the target exists. */
  readonly exists: boolean;
  readonly plan: RestorePlan;
}

async function replaceTarget(
  context: ArchiveContext,
  replacement: Replacement,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const { run } = context;
  const { live, plan } = replacement;
  const { archive, base } = replacement.sources;
  const { onlyEventStore, until, onProgress } = options;
  await using prepared = await createScratchDatabase(context, "restoring", archive.manifest.databaseFacts);
  const parts = { base, onlyEventStore, until, onProgress };
  const { end, rows, notRefreshed } = await load(prepared.target, archive, parts, run);
  const migrated = options.migrate ? await applyNewFiles(context, prepared.target) : [];
  await beginRestoredEpoch(prepared.target, { archive: archive.manifest.id, end }, run);
  const redacted = await redactRestored(context, live, prepared.target);
  await checkInvariants(prepared.target, run);
  const redactedSince = await cutOver(context, prepared.target, replacement);
  return { ...plan, rows, isRestored: true, notRefreshed, migrated, redacted: redacted + redactedSince };
}

/** @returns the number of events that were redacted in the old database just before it was replaced */
async function cutOver(
  context: ArchiveContext,
  prepared: ConnectionTarget,
  { exists, plan, sources }: Replacement,
): Promise<number> {
  const { maintenance, target, run } = context;
  const old = exists ? (plan.kept ?? keptDatabase(target.database, new Date())) : undefined;
  await skipDrawnPositions(prepared, exists ? target : undefined, run);
  const replaced = await readDatabaseFacts(maintenance, target.database);
  await using other = await connectForMaintenance(target, {
    applicationName: "cqrs-postgres restore",
    signal: run.signal,
  });
  await swapDatabases(maintenance, other.sql, {
    prepared: prepared.database,
    database: target.database,
    kept: old,
    facts: mergeFacts(sources.archive.manifest.databaseFacts, replaced, defaultSettings),
    onWarning: (text) => run.reporter.warn(text),
  });
  if (old === undefined) return 0;
  const redacted = await redactRestored(context, { ...target, database: old }, target);
  if (plan.kept === null) await dropDatabase(maintenance, old);
  return redacted;
}

async function load(
  target: ConnectionTarget,
  source: ArchiveSource,
  options: Omit<LoadOptions, "onWarning">,
  { reporter, signal }: RunContext,
): Promise<LoadedArchive> {
  await using connection = openConnection(target, { applicationName: lockHolderName("restore"), signal });
  return await loadArchive(connection.sql, source, { ...options, onWarning: (text) => reporter.warn(text) });
}

async function checkInvariants(target: ConnectionTarget, run: RunContext): Promise<void> {
  await using connection = connectToRestore(target, run);
  const violations = await readViolations(connection.sql);
  checkNoViolations(violations, "The restored data is inconsistent; the database is unchanged");
}
