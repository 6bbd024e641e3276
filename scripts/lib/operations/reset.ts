import { mergeFacts, readDatabaseFacts } from "../archive/database-facts.ts";
import type { DatabaseFacts } from "../archive/manifest.ts";
import type { OnProgress } from "../archive/progress.ts";
import { createLockedBackup } from "../backup/create.ts";
import { type ArchiveContext, withArchivesLocked } from "../backup/lock.ts";
import { checkTarget } from "../backup/restore-checks.ts";
import { createScratchDatabase, type ScratchDatabase } from "../backup/scratch-database.ts";
import { checkSlots, readSlots } from "../backup/slots.ts";
import { dropDatabase, keptDatabase, readKeptDatabases, swapDatabases } from "../backup/swap.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isFromServer } from "../postgres/failure.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { hostAndPort } from "../server-url.ts";
import { requireAdministrator } from "../stack/administrator.ts";
import { defaultSettings } from "../stack/database.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { isLoopback } from "./loopback.ts";
import { endSessionsToCount, type RowChanges, readRowChanges } from "./row-changes.ts";
import { cloneSchema } from "./schema-clone.ts";

/** How to reset. */
export interface ResetOptions {
  /** Backs the database up first. */
  readonly backUp: boolean;
  /** Leaves out the schema. */
  readonly isEmpty: boolean;
  /** Accepts a server on another host. */
  readonly allowRemote: boolean;
  /** Called before anything is written, unless there is nothing to lose; throws to cancel. */
  readonly confirm: (plan: ResetPlan) => Promise<void>;
  readonly onProgress: OnProgress;
}

/** What a reset is about to do. */
export interface ResetPlan {
  readonly database: string;
  /** `127.0.0.1:5432` */
  readonly server: string;
  /** Number of its events; null if it does not exist or has no event store. */
  readonly events: number | null;
  /** Whether it gets no schema. */
  readonly isEmpty: boolean;
  /** Whether it is backed up first. */
  readonly backUp: boolean;
  /** Logical replication slots that are dropped with the database. */
  readonly slots: readonly string[];
}

/** What a reset did. */
export interface ResetResult {
  readonly isReset: boolean;
  readonly database: string;
  readonly events: number | null;
  readonly isEmpty: boolean;
  /** The archive of the replaced database; null if it was not backed up. */
  readonly archive: string | null;
  /** The name under which the replaced database is kept, because the archive may lack a change; null if it is dropped. */
  readonly kept: string | null;
}

/**
 * Replaces the stack's database by a new one, which is a copy of a template with the schema. Until the new one is
 * complete, the database is unchanged, even if the run is killed.
 *
 * @throws {ScriptError} before anything is written: `REMOTE_SERVER`, `SLOT_IN_USE` (exit 8), `LOCKED` (exit 5); before
 * the database is replaced: those of a backup and of applying the schema, `SESSIONS` (exit 3)
 */
export async function resetDatabase(stack: Stack, options: ResetOptions, run: RunContext): Promise<ResetResult> {
  const target = await requireAdministrator(stack);
  if (!options.allowRemote && !isLoopback(target.host)) throw remoteServer(target);
  return withArchivesLocked({ stack, target, run, command: "reset" }, async (context) => {
    const { plan, hasContent } = await planReset(context, options);
    if (hasContent) await options.confirm(plan);
    const backup = plan.backUp ? await backUpFirst(context, options.onProgress) : undefined;
    const kept = await replaceDatabase(context, plan.isEmpty, backup?.before);
    const { database, events, isEmpty } = plan;
    return { isReset: true, database, events, isEmpty, archive: backup?.archive ?? null, kept };
  });
}

/** @returns the archive, and what had been changed before it was begun */
async function backUpFirst(context: ArchiveContext, onProgress: OnProgress) {
  const { maintenance, target, run } = context;
  await endSessionsToCount(maintenance, target.database);
  const before = await readRowChanges(target, run);
  const { archive } = await createLockedBackup(context, { onProgress });
  return { before, archive };
}

interface CheckedPlan {
  readonly plan: ResetPlan;
  /** Whether there is something to lose. */
  readonly hasContent: boolean;
}

async function planReset({ maintenance, target }: ArchiveContext, options: ResetOptions): Promise<CheckedPlan> {
  const { database } = target;
  const state = await checkTarget(maintenance, target, false);
  const slots = await readSlots(maintenance, database);
  checkSlots(slots, "Stop these consumers, then run this again.");
  const plan: ResetPlan = {
    database,
    server: hostAndPort(target),
    events: state.events,
    isEmpty: options.isEmpty,
    backUp: options.backUp && !state.isEmpty,
    slots: slots.map(({ name }) => name),
  };
  return { plan, hasContent: !state.isEmpty };
}

/**
 * @param before what had been changed before the backup; undefined if there is none
 * @returns the name under which the replaced database is kept
 */
async function replaceDatabase(
  context: ArchiveContext,
  isEmpty: boolean,
  before: RowChanges | undefined,
): Promise<string | null> {
  const { maintenance, target } = context;
  const facts = await readDatabaseFacts(maintenance, target.database);
  await using prepared = await prepareDatabase(context, isEmpty, facts);
  const old = facts === undefined ? undefined : keptDatabase(target.database, new Date());
  await swap(context, prepared.target, { old, facts });
  const earlier = (await readKeptDatabases(maintenance, target.database)).filter((name) => name !== old);
  if (earlier.length > 0) context.run.reporter.info(describeKept(earlier));
  return old === undefined ? null : await dropReplaced(context, old, before);
}

async function prepareDatabase(
  context: ArchiveContext,
  isEmpty: boolean,
  replaced: DatabaseFacts | undefined,
): Promise<ScratchDatabase> {
  const facts = replaced ?? (await requireFacts(context, "template1"));
  return isEmpty ? createScratchDatabase(context, "resetting", facts) : cloneSchema(context, facts);
}

async function requireFacts({ maintenance }: ArchiveContext, database: string): Promise<DatabaseFacts> {
  const facts = await readDatabaseFacts(maintenance, database);
  if (facts === undefined) throw new Error(`there is no database ${database}`);
  return facts;
}

interface Replaced {
  /** The name that the replaced database gets; undefined if there is none. */
  readonly old: string | undefined;
  readonly facts: DatabaseFacts | undefined;
}

async function swap(context: ArchiveContext, prepared: ConnectionTarget, { old, facts }: Replaced): Promise<void> {
  const { maintenance, target, run } = context;
  const own = await requireFacts(context, prepared.database);
  await using other = await connectForMaintenance(target, {
    applicationName: "cqrs-postgres reset",
    signal: run.signal,
  });
  await swapDatabases(maintenance, other.sql, {
    prepared: prepared.database,
    database: target.database,
    kept: old,
    facts: mergeFacts(own, facts, defaultSettings),
    onWarning: (text) => run.reporter.warn(text),
  });
}

/** Keeps a replaced database that was changed since its backup began, or that cannot be dropped. */
async function dropReplaced(
  context: ArchiveContext,
  old: string,
  before: RowChanges | undefined,
): Promise<string | null> {
  const { maintenance, target, run } = context;
  if (before !== undefined) {
    const after = await readRowChanges({ ...target, database: old }, run);
    if (after !== before) {
      run.reporter.warn(`the replaced database was changed during the backup, so it is kept as ${old}`);
      return old;
    }
  }
  try {
    await dropDatabase(maintenance, old);
    return null;
  } catch (error) {
    if (!isFromServer(error)) throw error;
    run.reporter.warn(`the replaced database is kept as ${old}: ${(error as Error).message}`);
    return old;
  }
}

function describeKept(names: readonly string[]): string {
  return `kept by earlier runs: ${names.join(", ")}; to drop them, run ${runLine("restore")} --drop-old`;
}

function remoteServer(target: ConnectionTarget): ScriptError {
  return new ScriptError({
    code: "REMOTE_SERVER",
    exitCode: exitCodes.refused,
    message: `The database ${target.database} is on another host: ${hostAndPort(target)}`,
    why: "A reset deletes everything in a database, so by default it accepts only servers on this host.",
    fix: "Check that it is the right server, then pass --allow-remote.",
  });
}
