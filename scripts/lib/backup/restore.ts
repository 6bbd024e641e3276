import { join } from "node:path";
import { dropApplicationObjects } from "../archive/application-objects.ts";
import { type ArchiveSource, type LoadOptions, loadArchive } from "../archive/load.ts";
import { corrupt, countRows, type Manifest } from "../archive/manifest.ts";
import { type OpenArchive, openArchive } from "../archive/open.ts";
import type { OnProgress } from "../archive/progress.ts";
import { verifyArchive } from "../archive/verify.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Connection, type ConnectionTarget, openConnection, type Sql } from "../postgres/connect.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { applySchema } from "../schema/apply.ts";
import type { CatalogFingerprint } from "../schema/fingerprint.ts";
import { checkNoViolations, readViolations } from "../schema/invariants.ts";
import { administratorTarget, type RunContext, type Stack } from "../stack/stack.ts";
import { readArchivedSchema } from "./archived-schema.ts";
import { backupsDir } from "./backups-dir.ts";
import { sealForReading } from "./key.ts";
import { lockHolderName, withArchivesLocked } from "./lock.ts";
import { redactRestored } from "./redact-restored.ts";
import { checkRestorable, checkTarget, type TargetState } from "./restore-checks.ts";
import { checkNoDrift, createScratchDatabase, fingerprintOf } from "./scratch-database.ts";
import { dropDatabase, keptDatabase, readKeptDatabases, swapDatabases } from "./swap.ts";

/** What to restore, and where to. */
export interface RestoreOptions {
  /** `latest`, a name in the folder of archives, a path, or `-` for a tar stream from stdin. */
  readonly archive: string;
  /** The folder of archives; the stack's own when left out. */
  readonly from?: string | undefined;
  /** A file with the key of an encrypted archive; the secret store's own when left out. */
  readonly keyFile?: string | undefined;
  /** Another database than the stack's; it must be new or empty. */
  readonly into?: string | undefined;
  /** Drops the database that is replaced, in place of keeping it. */
  readonly dropOld: boolean;
  /** Applies migrations that are newer than the archive. */
  readonly migrate: boolean;
  readonly onlyEventStore: boolean;
  readonly until: LoadOptions["until"];
  /** Checks everything that can be checked without writing, and stops there. */
  readonly dryRun: boolean;
  /** Asked before anything is written; throws to stop. */
  readonly confirm: (plan: RestorePlan) => Promise<void>;
  readonly onProgress: OnProgress;
}

/** What a restore is about to do. */
export interface RestorePlan {
  readonly archive: string;
  readonly endedAt: string;
  readonly rows: number;
  readonly database: string;
  /** The events that the database has now; null when there is no such database, or none of ours. */
  readonly eventsNow: number | null;
  /** The name under which the replaced database stays; null when there is none, or it is dropped. */
  readonly kept: string | null;
}

/** What a restore has done. */
export interface RestoreResult extends RestorePlan {
  readonly isRestored: boolean;
  /** Names of files applied beyond those of the archive. */
  readonly migrated: readonly string[];
  /** Events that were redacted again, as they had been in the stack's database since the archive was written. */
  readonly redacted: number;
}

/**
 * Restores an archive: into a new database, which takes the place of the one there is when everything has been checked.
 * Until then nothing of that one is touched; a run that ends early, however it ends, leaves it as it was.
 *
 * @throws {ScriptError} before anything is written: `ARCHIVE_CORRUPT`, `ARCHIVE_INCOMPLETE` (exit 11), `ARCHIVE_NEWER`,
 * `NOT_EMPTY` (exit 8), `CATALOG_DRIFT`, `SCHEMA_DRIFT` (exit 4), `LOCKED` (exit 5); before the swap: `INVARIANT` (exit 11)
 */
export async function restoreArchive(stack: Stack, options: RestoreOptions, run: RunContext): Promise<RestoreResult> {
  await using opened = await openArchive(options.from ?? backupsDir(stack), options.archive, run.signal);
  const sources = await openSources(stack, opened, options.keyFile);
  const server = await administratorTarget(stack);
  const target = { ...server, database: options.into ?? server.database };
  // Awaited: what was unpacked is removed when this function returns.
  return await withArchivesLocked(target, "restore", run.signal, async (maintenance) => {
    await checkRestorable(maintenance, sources.archive.manifest);
    const state = await checkTarget(maintenance, target, options.into !== undefined);
    const plan = planOf(opened.name, sources.archive, target, state, options);
    if (options.dryRun) return { ...plan, isRestored: false, migrated: [], redacted: 0 };
    await options.confirm(plan);
    return restoreInto(stack, sources, { maintenance, live: server, target, state, plan }, options, run);
  });
}

/**
 * Restores an archive into a database that is dropped again: what a restore would do, but for the swap.
 *
 * @throws {ScriptError} what {@link restoreArchive} throws
 */
export async function rehearseRestore(
  stack: Stack,
  opened: OpenArchive,
  keyFile: string | undefined,
  run: RunContext,
): Promise<Manifest> {
  const { archive, base } = await openSources(stack, opened, keyFile);
  const target = await administratorTarget(stack);
  return withArchivesLocked(target, "backup verify", run.signal, async (maintenance) => {
    const schema = await readArchivedSchema(archive.dir);
    await using scratch = await createScratchDatabase(stack, maintenance, target, "scratch", schema, run);
    checkNoDrift(archive.manifest.fingerprint, scratch.fingerprint, strangeCatalog);
    const everything = { base, onlyEventStore: false, until: undefined, onProgress: undefined };
    await load(scratch.target, archive, everything, run);
    await checkUnchanged(scratch.target, scratch.fingerprint, run);
    await checkInvariants(scratch.target, run);
    return archive.manifest;
  });
}

/**
 * Drops the databases that restores have replaced and kept.
 *
 * @returns their names
 */
export async function dropKeptDatabases(stack: Stack, run: RunContext): Promise<string[]> {
  const target = await administratorTarget(stack);
  await using maintenance = await connectForMaintenance(target, { signal: run.signal });
  const names = await readKeptDatabases(maintenance.sql, target.database);
  for (const name of names) await dropDatabase(maintenance.sql, name);
  return names;
}

interface Sources {
  readonly archive: ArchiveSource;
  /** The full archive that it continues. */
  readonly base: ArchiveSource | undefined;
}

/** An archive that continues another one needs that beside it. */
async function openSources(stack: Stack, opened: OpenArchive, keyFile: string | undefined): Promise<Sources> {
  const archive = await openSource(stack, opened.dir, keyFile);
  const { base } = archive.manifest;
  return {
    archive,
    base: base === null ? undefined : await openBase(stack, join(opened.folder, base.id), base, keyFile),
  };
}

async function openSource(stack: Stack, dir: string, keyFile: string | undefined): Promise<ArchiveSource> {
  const manifest = await verifyArchive(dir);
  return { dir, manifest, seal: await sealForReading(stack, manifest, keyFile) };
}

async function openBase(
  stack: Stack,
  dir: string,
  { id }: { readonly id: string },
  keyFile: string | undefined,
): Promise<ArchiveSource> {
  const source = await openSource(stack, dir, keyFile);
  if (source.manifest.id === id) return source;
  throw corrupt(dir, `It is ${source.manifest.id}, not ${id}.`);
}

function planOf(
  name: string,
  { manifest }: ArchiveSource,
  { database }: ConnectionTarget,
  state: TargetState,
  { dropOld }: RestoreOptions,
): RestorePlan {
  const rows = countRows(manifest);
  const kept = state.exists && !dropOld && !state.isEmpty ? keptDatabase(database, new Date()) : null;
  return { archive: name, endedAt: manifest.endedAt, rows, database, eventsNow: state.events, kept };
}

const strangeCatalog = "The archive's migrations do not make the schema that its rows are of";

interface RestoreContext {
  readonly maintenance: Sql;
  /** The stack's own database, which may be the target. */
  readonly live: ConnectionTarget;
  readonly target: ConnectionTarget;
  readonly state: TargetState;
  readonly plan: RestorePlan;
}

async function restoreInto(
  stack: Stack,
  { archive, base }: Sources,
  { maintenance, live, target, state, plan }: RestoreContext,
  options: RestoreOptions,
  run: RunContext,
): Promise<RestoreResult> {
  const schema = await readArchivedSchema(archive.dir);
  await using prepared = await createScratchDatabase(stack, maintenance, target, "restoring", schema, run);
  checkNoDrift(archive.manifest.fingerprint, prepared.fingerprint, strangeCatalog);
  const { onlyEventStore, until, onProgress } = options;
  // Tables of projections would be in the way of those that begin anew.
  const fingerprint = onlyEventStore ? await withoutApplication(prepared.target, run) : prepared.fingerprint;
  await load(prepared.target, archive, { base, onlyEventStore, until, onProgress }, run);
  await checkUnchanged(prepared.target, fingerprint, run);
  const migrated = options.migrate ? await migrate(prepared.target, stack, run) : [];
  let redacted = await redactRestored(maintenance, live, prepared.target, run);
  await checkInvariants(prepared.target, run);
  const old = state.exists ? (plan.kept ?? keptDatabase(target.database, new Date())) : undefined;
  await using other = await connectForMaintenance(target, {
    applicationName: "cqrs-postgres restore",
    signal: run.signal,
  });
  const swap = { prepared: prepared.target.database, database: target.database, kept: old };
  await swapDatabases(maintenance, other.sql, swap);
  // Until the swap more may have been redacted.
  if (old !== undefined) redacted += await redactRestored(maintenance, { ...target, database: old }, target, run);
  if (old !== undefined && plan.kept === null) await dropDatabase(maintenance, old);
  return { ...plan, isRestored: true, migrated, redacted };
}

async function withoutApplication(target: ConnectionTarget, run: RunContext): Promise<CatalogFingerprint> {
  await using connection = connectAsOwner(target, run);
  await inTransaction(connection.sql, dropApplicationObjects);
  return await fingerprintOf(target, run);
}

function connectAsOwner(target: ConnectionTarget, { signal }: RunContext): Connection {
  return openConnection(target, { applicationName: lockHolderName("restore"), role: groupRoles.owner, signal });
}

/** Every trigger is on again, every key is there. */
async function checkUnchanged(
  target: ConnectionTarget,
  fingerprint: CatalogFingerprint,
  run: RunContext,
): Promise<void> {
  checkNoDrift(fingerprint, await fingerprintOf(target, run), "The load has changed the schema");
}

async function load(
  target: ConnectionTarget,
  source: ArchiveSource,
  options: LoadOptions,
  run: RunContext,
): Promise<void> {
  await using connection = connectAsOwner(target, run);
  await loadArchive(connection.sql, source, options);
}

async function migrate(target: ConnectionTarget, stack: Stack, run: RunContext): Promise<readonly string[]> {
  const { applied } = await applySchema(target, {
    timeoutMs: stack.config.timeoutMs,
    signal: run.signal,
    onWait: () => {},
    onNotice: (text) => run.reporter.verbose(text),
  });
  return applied;
}

async function checkInvariants(target: ConnectionTarget, run: RunContext): Promise<void> {
  await using connection = connectAsOwner(target, run);
  const violations = await readViolations(connection.sql);
  checkNoViolations(violations, "What was restored is not consistent; the database is as it was");
}

/** @returns the error of a restore that nobody has agreed to (exit 8) */
export function restoreRefused(plan: RestorePlan, why: string): ScriptError {
  return new ScriptError({
    code: "REFUSED",
    exitCode: exitCodes.refused,
    message: "Nothing was restored",
    why,
    fix: "bun run restore <archive> --yes",
    data: { ...plan, isRestored: false },
  });
}
