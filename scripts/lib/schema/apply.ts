import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { isConflict, isFromServer, isServerTrouble } from "../postgres/failure.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { checkStatements } from "./check.ts";
import { createLedger, type LedgerEntry, planSchema, readLedger, type SchemaPlan } from "./ledger.ts";
import { lockSchema, type SchemaLockOptions } from "./lock.ts";
import { type ExpandedSql, expandPlaceholders, type Placeholders, placeholdersFor } from "./placeholders.ts";
import { readSchema, type SchemaFile } from "./source.ts";

/** How to apply a schema. */
export interface ApplyOptions extends SchemaLockOptions {
  /** The schema files; by default, those of the product. */
  readonly files?: readonly SchemaFile[];
  /** Optional files to apply as well: their names in `optional/`, without `.sql`. */
  readonly optional?: readonly string[];
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
}

/**
 * Applies the pending schema files to a database, each in the same transaction as its row in the ledger. Routines share
 * one transaction, because they call each other: callers see all of them change, or none.
 *
 * Of several concurrent runs, one applies the files and the others find nothing to do.
 *
 * @param target the database, with a login that can act as its owner
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4), `LOCKED` (exit 5), or `MIGRATION_FAILED` (exit 1) with
 * `file:line:column`; the failed file is rolled back, a routine with all other routines, and those before stay applied
 */
export async function applySchema(target: ConnectionTarget, options: ApplyOptions): Promise<ApplyResult> {
  const files = options.files ?? (await readSchema());
  await using work = openConnection(target, {
    applicationName: "cqrs-postgres schema apply",
    role: groupRoles.owner,
    searchPath: "public",
    signal: options.signal,
    onNotice: options.onNotice,
  });
  try {
    const plan = await readPlan(work.sql, files, options.optional);
    if (plan.pending.length === 0) return { applied: [], total: plan.applied.length };
    await using lock = openConnection(target, { applicationName: "cqrs-postgres schema lock", signal: options.signal });
    await lockSchema(lock.sql, options);
    const { applied, pending } = await readPlan(work.sql, files, options.optional);
    pending.forEach(checkStatements);
    if (pending.length > 0) await createLedger(work.sql);
    const placeholders = placeholdersFor(target.database);
    for (const together of groupFiles(pending)) {
      await applyTogether(work.sql, together, placeholders);
      for (const { name } of together) options.onApplied?.(name);
    }
    const names = pending.map(({ name }) => name);
    return { applied: names, total: new Set([...applied.map(({ name }) => name), ...names]).size };
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
export async function readSchemaStatus(target: ConnectionTarget, signal: AbortSignal): Promise<SchemaStatus> {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres schema status", signal });
  try {
    const { applied, pending } = await readPlan(connection.sql);
    return { applied, pending: pending.map(({ name }) => name) };
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
  files?: readonly SchemaFile[],
  optional?: readonly string[],
): Promise<SchemaPlan> {
  return planSchema(files ?? (await readSchema()), await readLedger(sql), optional);
}

/** @returns the files of each transaction, in order */
function groupFiles(pending: readonly SchemaFile[]): (readonly SchemaFile[])[] {
  const of = (wanted: SchemaFile["kind"]) => pending.filter(({ kind }) => kind === wanted);
  const alone = (files: readonly SchemaFile[]) => files.map((file) => [file]);
  const routines = of("routine");
  return [...alone(of("migration")), ...(routines.length === 0 ? [] : [routines]), ...alone(of("optional"))];
}

async function applyTogether(sql: Sql, files: readonly SchemaFile[], placeholders: Placeholders): Promise<void> {
  let explain = (error: unknown) => error;
  const work = inTransaction(sql, async (tx) => {
    for (const file of files) {
      const expanded = expandPlaceholders(file, placeholders);
      explain = (error) => fileFailed(file, expanded, error);
      await applyFile(tx, file, expanded);
    }
  });
  await work.catch((error: unknown) => {
    throw explain(error);
  });
}

async function applyFile(tx: Sql, file: SchemaFile, { text }: ExpandedSql): Promise<void> {
  const startedAt = performance.now();
  await tx.unsafe(text).simple();
  // A file may have changed the session's settings, which must not affect its row in the ledger or the next file.
  await tx.unsafe(`reset session authorization; reset all; set role ${groupRoles.owner}`).simple();
  const durationMs = Math.round(performance.now() - startedAt);
  await tx`
    insert into public.schema_migration (name, checksum, duration_ms)
    values (${file.name}, ${file.checksum}, ${durationMs})
    on conflict (name) do update
    set checksum = excluded.checksum, applied_at = clock_timestamp(), applied_by = session_user,
        duration_ms = excluded.duration_ms`;
}

function fileFailed(file: SchemaFile, expanded: ExpandedSql, error: unknown): unknown {
  if (!isFromServer(error)) return error;
  const { code, message, detail, hint, position, where } = error as Record<string, string | undefined>;
  const place = position === undefined ? file.path : `${file.path}:${expanded.locate(Number(position))}`;
  const kept = whatIsKept(file);
  if (isConflict(error) || isServerTrouble(error)) return migrationStopped(place, `${message} (${code})`, kept);
  const reasons = [`${message} (${code})`, detail, hint, position === undefined ? where : undefined];
  return new ScriptError({
    code: "MIGRATION_FAILED",
    exitCode: exitCodes.bug,
    message: `${place}: ${message}`,
    why: reasons.filter((reason) => reason !== undefined).join("\n"),
    fix: `Fix the file, then run ${runLine("schema apply")} again. ${kept}`,
  });
}

function whatIsKept({ kind }: SchemaFile): string {
  return kind === "routine"
    ? "All routines of this run were rolled back; the migrations before them stay applied."
    : "This file was rolled back; those before it stay applied.";
}

/** The cause is the server's state, not the file: disk space, memory, a lock, a cancelled or lost session. */
function migrationStopped(place: string, why: string, kept: string): ScriptError {
  return new ScriptError({
    code: "MIGRATION_STOPPED",
    exitCode: exitCodes.notReady,
    message: `${place}: the server could not finish this file`,
    why,
    fix: `Fix the cause, then run ${runLine("schema apply")} again. ${kept}`,
  });
}
