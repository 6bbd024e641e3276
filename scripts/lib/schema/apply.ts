import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { requirePrimary } from "../postgres/primary.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { type LedgerEntry, readLedger, sourceRoles } from "./ledger.ts";
import { lockSchema, type SchemaLockOptions } from "./lock.ts";
import { placeholdersFor } from "./placeholders.ts";
import { entryOf, planSchema, type SchemaPlan } from "./plan.ts";
import { refusePooler } from "./pooler.ts";
import { type PreparedFile, prepareFile } from "./prepare.ts";
import { createProjectLogin } from "./project-login.ts";
import { type FileSession, type RunLimits, runTogether } from "./run-files.ts";
import { runStatements } from "./run-statements.ts";
import { type SchemaFile, type SchemaSource, titleOf } from "./source.ts";
import { upTo } from "./up-to.ts";

/** How to apply a schema. */
export interface ApplyOptions extends SchemaLockOptions {
  readonly files: readonly SchemaFile[];
  /** What `:{database}` stands for, if the database is to get another name; @default that of the target */
  readonly database?: string;
  /** Optional files to apply as well: their names in `optional/`, without `.sql`. */
  readonly optional?: readonly string[];
  /** The number of the project's last migration to apply; by default, all. */
  readonly to?: string | undefined;
  /** Whether to roll back what was done. */
  readonly isDryRun?: boolean;
  /** @default 5 seconds */
  readonly lockTimeoutMs?: number | undefined;
  /** @default no limit */
  readonly statementTimeoutMs?: number | undefined;
  /** Called for each session that a file waits for, and before each further attempt. */
  readonly onBlocked?: (text: string) => void;
  /** Called after each file that was applied. */
  readonly onApplied?: (name: string) => void;
  /** Receives the server's notices and warnings while a file runs. */
  readonly onNotice: (text: string) => void;
}

/** What was applied. */
export interface ApplyResult {
  /** Names of the files applied by this run, in order. */
  readonly applied: readonly string[];
  /** Number of files applied so far, by this run and earlier ones. */
  readonly total: number;
  /** Whether everything was rolled back. */
  readonly isDryRun: boolean;
  /** Names of the files that a dry run cannot try: from one without a transaction on, or behind another source's. */
  readonly untried: readonly string[];
}

const defaultLockTimeoutMs = 5_000;

/**
 * Applies the pending schema files to a database, each in the same transaction as its row in the ledger. Routines of a
 * source share one transaction, because they call each other: callers see all of them change, or none. The files of a
 * project run as `cqrs_app_owner`, after those of the product.
 *
 * Of several concurrent runs, one applies the files and the others find nothing to do.
 *
 * @param target the database, with a login that can act as its owner
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4), `LOCKED` (exit 5), `POOLER` (exit 9), `MIGRATION_STOPPED` (exit 3), or
 * `MIGRATION_FAILED` (exit 1) with `file:line:column`; the failed file is rolled back, a routine with all other
 * routines, and those before stay applied
 */
export async function applySchema(target: ConnectionTarget, options: ApplyOptions): Promise<ApplyResult> {
  const { isDryRun = false, signal } = options;
  await using observer = openConnection(target, { applicationName: "cqrs-postgres schema lock", signal });
  try {
    const plan = await readWanted(observer.sql, options);
    if (plan.pending.length === 0) return { applied: [], total: plan.applied.length, isDryRun, untried: [] };
    await requirePrimary(observer.sql, target);
    await refusePooler(observer.sql, target, signal);
    await lockSchema(observer.sql, options);
    return await applyPending(target, observer.sql, options);
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** What `schema status` shows. */
export interface SchemaStatus {
  readonly applied: readonly LedgerEntry[];
  /** Names of the pending files, in order. */
  readonly pending: readonly string[];
}

/**
 * Reads which files are applied to a database and which are pending. Changes nothing.
 *
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4)
 */
export async function readSchemaStatus(
  target: ConnectionTarget,
  files: readonly SchemaFile[],
  signal: AbortSignal,
): Promise<SchemaStatus> {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres schema status", signal });
  try {
    const { applied, pending } = await readPlan(connection.sql, files);
    return { applied, pending: pending.map(titleOf) };
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/**
 * Compares the files with the ledger, without a lock.
 *
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4)
 */
export async function readPlan(
  sql: Sql,
  files: readonly SchemaFile[],
  optional?: readonly string[],
): Promise<SchemaPlan> {
  return planSchema(files, await readLedger(sql), optional);
}

async function readWanted(sql: Sql, { files, optional, to }: ApplyOptions): Promise<SchemaPlan> {
  const { applied, pending } = await readPlan(sql, files, optional);
  return { applied, pending: to === undefined ? pending : upTo(pending, files, to) };
}

async function applyPending(target: ConnectionTarget, observer: Sql, options: ApplyOptions): Promise<ApplyResult> {
  const { applied, pending } = await readWanted(observer, options);
  const placeholders = placeholdersFor(options.database ?? target.database);
  const prepared: PreparedFile[] = [];
  for (const file of pending) prepared.push(await prepareFile(file, placeholders));
  const run: Run = { target, observer, options, applied, done: [], untried: [] };
  for (const source of ["cqrs", "app"] as const) {
    const files = prepared.filter(({ file }) => file.source === source);
    if (files.length > 0) await applySource(run, source, files);
  }
  const names = new Set([...applied.map(titleOf), ...run.done]);
  const total = options.isDryRun ? applied.length : names.size;
  return { applied: run.done, total, isDryRun: options.isDryRun ?? false, untried: run.untried };
}

interface Run {
  readonly target: ConnectionTarget;
  readonly observer: Sql;
  readonly options: ApplyOptions;
  readonly applied: readonly LedgerEntry[];
  /** Titles of the files that were applied, or tried. */
  readonly done: string[];
  readonly untried: string[];
}

async function applySource(run: Run, source: SchemaSource, files: readonly PreparedFile[]): Promise<void> {
  const { target, observer, options } = run;
  // Their own session would not see what is rolled back here.
  if (options.isDryRun && run.done.length > 0) return void run.untried.push(...files.map(({ file }) => titleOf(file)));
  await using login = source === "app" ? await createProjectLogin(target, options.signal) : undefined;
  const backend: FileSession["backend"] = { pid: undefined };
  const forget = () => {
    backend.pid = undefined;
  };
  await using connection = openConnection(login?.target ?? target, {
    applicationName: "cqrs-postgres schema apply",
    role: sourceRoles[source],
    ...(source === "cqrs" ? { searchPath: "public", logStatements: !(await isSuperuser(observer)) } : {}),
    signal: options.signal,
    onNotice: options.onNotice,
    onSessionOpen: forget,
    onSessionLost: forget,
  });
  const session: FileSession = {
    sql: connection.sql,
    role: sourceRoles[source],
    appliedBy: target.user,
    observer,
    backend,
    limits: limitsOf(options),
  };
  await (options.isDryRun ? tryFiles(run, session, files) : applyFiles(run, session, files));
}

/** The server's log would consist mostly of the text of our own files. */
async function isSuperuser(sql: Sql): Promise<boolean> {
  const [row] = await sql`select from pg_catalog.pg_roles where rolname = session_user and rolsuper`;
  return row !== undefined;
}

async function applyFiles(run: Run, session: FileSession, files: readonly PreparedFile[]): Promise<void> {
  for (const together of groupFiles(files)) {
    const [first] = together;
    const entry = entryOf(first.file, run.applied);
    // It may be half applied, although it has a transaction now.
    const isOnce = first.isTransactional && (entry === undefined || entry.progress === null);
    if (isOnce) await runTogether(session, together, false);
    else await runStatements(session, first, entry);
    for (const { file } of together) {
      run.done.push(titleOf(file));
      run.options.onApplied?.(titleOf(file));
    }
  }
}

/** Runs the files in one transaction, up to one that cannot run in it: each file may need those before it. */
async function tryFiles(run: Run, session: FileSession, files: readonly PreparedFile[]): Promise<void> {
  const end = files.findIndex(({ isTransactional }) => !isTransactional);
  const [first, ...others] = end < 0 ? files : files.slice(0, end);
  run.untried.push(...(end < 0 ? [] : files.slice(end)).map(({ file }) => titleOf(file)));
  if (first === undefined) return;
  await runTogether(session, [first, ...others], true);
  run.done.push(...[first, ...others].map(({ file }) => titleOf(file)));
}

/** @returns the files of each transaction, in order */
function groupFiles(files: readonly PreparedFile[]): (readonly [PreparedFile, ...PreparedFile[]])[] {
  const of = (wanted: SchemaFile["kind"]) => files.filter(({ file }) => file.kind === wanted);
  const alone = (some: readonly PreparedFile[]) => some.map((file) => [file] as const);
  const [routine, ...routines] = of("routine");
  return [
    ...alone(of("migration")),
    ...(routine === undefined ? [] : [[routine, ...routines] as const]),
    ...alone(of("optional")),
  ];
}

function limitsOf({ lockTimeoutMs, statementTimeoutMs, timeoutMs, signal, onBlocked }: ApplyOptions): RunLimits {
  return {
    lockTimeoutMs: lockTimeoutMs ?? defaultLockTimeoutMs,
    statementTimeoutMs: statementTimeoutMs ?? 0,
    timeoutMs,
    signal,
    onBlocked: onBlocked ?? (() => {}),
  };
}
