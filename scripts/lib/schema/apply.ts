import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type ConnectionTarget, openConnection, type Sql } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { isConflict, isFromServer, isServerTrouble } from "../postgres/failure.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { checkStatements } from "./check.ts";
import { createLedger, type LedgerEntry, planSchema, readLedger, type SchemaPlan } from "./ledger.ts";
import { lockSchema, type SchemaLockOptions } from "./lock.ts";
import { type ExpandedSql, expandPlaceholders, type Placeholders, placeholdersFor } from "./placeholders.ts";
import { readSchema, type SchemaFile } from "./source.ts";

/** How to apply a schema. */
export interface ApplyOptions extends SchemaLockOptions {
  /** The files of the schema; the product's own when left out. */
  readonly files?: readonly SchemaFile[];
  /** Optional parts to apply too: names of files in `optional/`, without `.sql`. */
  readonly optional?: readonly string[];
  /** Called after each file that was applied. */
  readonly onApplied?: (name: string) => void;
  /** Gets what the server remarks while a file runs. */
  readonly onNotice: (text: string) => void;
}

/** What was applied. */
export interface ApplyResult {
  /** Names of the files applied by this run, in order. */
  readonly applied: readonly string[];
  /** How many files are applied now. */
  readonly total: number;
}

/**
 * Brings a database to the schema of the files: each file in one transaction with its row in the ledger.
 *
 * Of several runs at once one applies, the others find nothing to do.
 *
 * @param target the database, as a login that may act as its owner
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4), `LOCKED` (exit 5), or `MIGRATION_FAILED` (exit 1) with
 * `file:line:column`; files before the one that failed stay applied, that one left nothing
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
    for (const file of pending) {
      await applyFile(work.sql, file, placeholders);
      options.onApplied?.(file.name);
    }
    const names = pending.map(({ name }) => name);
    return { applied: names, total: new Set([...applied.map(({ name }) => name), ...names]).size };
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** What `schema status` tells. */
export interface SchemaStatus {
  readonly applied: readonly LedgerEntry[];
  /** Names of the files to apply, in order. */
  readonly pending: readonly string[];
}

/**
 * Tells what is applied to a database and what is not; changes nothing.
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
 * Compares the files with what was applied, without a lock.
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

async function applyFile(sql: Sql, file: SchemaFile, placeholders: Placeholders): Promise<void> {
  const expanded = expandPlaceholders(file, placeholders);
  const startedAt = performance.now();
  const work = inTransaction(sql, async (tx) => {
    await tx.unsafe(expanded.text).simple();
    // A file may have changed the session; neither its row in the ledger nor the next file is to notice.
    await tx.unsafe(`reset session authorization; reset all; set role ${groupRoles.owner}`).simple();
    const durationMs = Math.round(performance.now() - startedAt);
    await tx`
      insert into public.schema_migration (name, checksum, duration_ms)
      values (${file.name}, ${file.checksum}, ${durationMs})
      on conflict (name) do update
      set checksum = excluded.checksum, applied_at = clock_timestamp(), applied_by = session_user,
          duration_ms = excluded.duration_ms`;
  });
  await work.catch((error: unknown) => {
    throw fileFailed(file, expanded, error);
  });
}

function fileFailed(file: SchemaFile, expanded: ExpandedSql, error: unknown): unknown {
  if (!isFromServer(error)) return error;
  const { code, message, detail, hint, position, where } = error as Record<string, string | undefined>;
  const place = position === undefined ? file.path : `${file.path}:${expanded.locate(Number(position))}`;
  if (isConflict(error) || isServerTrouble(error)) return migrationStopped(place, `${message} (${code})`);
  const reasons = [`${message} (${code})`, detail, hint, position === undefined ? where : undefined];
  return new ScriptError({
    code: "MIGRATION_FAILED",
    exitCode: exitCodes.bug,
    message: `${place}: ${message}`,
    why: reasons.filter((reason) => reason !== undefined).join("\n"),
    fix: "Correct the file and run bun run schema apply again; this file was undone, those before it stay applied.",
  });
}

/** The server's state, not the file, is the cause: no space, no memory, a lock, a cancelled or ended session. */
function migrationStopped(place: string, why: string): ScriptError {
  return new ScriptError({
    code: "MIGRATION_STOPPED",
    exitCode: exitCodes.notReady,
    message: `${place}: the server could not finish this file`,
    why,
    fix: "Mend that, and run bun run schema apply again; this file was undone, those before it stay applied.",
  });
}
