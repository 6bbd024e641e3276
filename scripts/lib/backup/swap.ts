import { createHash } from "node:crypto";
import { databaseStatements } from "../archive/database-facts.ts";
import type { DatabaseFacts } from "../archive/manifest.ts";
import { isRefusal } from "../archive/restore-error.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import { inSavepoint, inTransaction } from "../postgres/transaction.ts";
import { pollUntil } from "../retry.ts";

/** PostgreSQL's limit for a name. */
const nameBytes = 63;
const objectInUse = "55006";

/** What a temporary database is for. */
export type TemporaryPurpose = "restoring" | "resetting" | "scratch";

/**
 * Names a temporary database. The name is the same in every run, so that the next run finds what a killed one left
 * behind. It contains a digest, so that it does not collide with an application's database.
 */
export function temporaryDatabase(database: string, purpose: TemporaryPurpose): string {
  const mark = createHash("sha256").update(`${purpose} ${database}`).digest("hex").slice(0, 12);
  return shorten(database, `_${purpose}_${mark}`);
}

/** @returns the name under which a replaced database is kept: `cqrs_db_before_20261125T031500123Z` */
export function keptDatabase(database: string, now: Date): string {
  return shorten(database, `_before_${now.toISOString().replaceAll(/[-:.]/g, "")}`);
}

/** Lists the databases that restores replaced and kept, oldest first. */
export async function readKeptDatabases(sql: Sql, database: string): Promise<string[]> {
  const example = keptDatabase(database, new Date(0));
  const prefix = example.slice(0, example.lastIndexOf("_") + 1);
  const rows = await sql<{ name: string }[]>`
    select datname::text as name from pg_catalog.pg_database
    where starts_with(datname::text, ${prefix})
      and substr(datname::text, ${prefix.length + 1}) ~ '^\\d{8}T\\d{9}Z$' order by 1`;
  return rows.map(({ name }) => name);
}

/** Drops a database if it exists. Ends all sessions in it. */
export async function dropDatabase(sql: Sql, name: string): Promise<void> {
  await sql.unsafe(`drop database if exists ${quoteIdentifier(name)} with (force)`);
}

/** Which databases to rename. */
export interface SwapOptions {
  /** The database that replaces another. */
  readonly prepared: string;
  /** Its new name, which is that of the database it replaces. */
  readonly database: string;
  /** The new name of the replaced database; undefined if no database is replaced. */
  readonly kept: string | undefined;
  /** The settings and privileges that it gets. */
  readonly facts: DatabaseFacts;
  /** Receives what could not be set. */
  readonly onWarning: (text: string) => void;
}

/**
 * Replaces a database with a prepared one. Both are renamed and the new one gets its settings and privileges in one
 * transaction, so there is nothing to undo if this process is killed.
 *
 * The rename locks the database before it checks for sessions. New connections wait, and then get the new database;
 * existing sessions are ended in the meantime.
 *
 * @param sql a single connection to another database, with a role that can rename both
 * @param other another such connection, which ends sessions while the first one waits
 * @throws {ScriptError} `SESSIONS` (exit 3) if sessions cannot be ended
 */
export async function swapDatabases(sql: Sql, other: Sql, options: SwapOptions): Promise<void> {
  const { prepared, database, kept, facts, onWarning } = options;
  const controller = new AbortController();
  const ending = kept === undefined ? Promise.resolve() : endSessions(other, database, controller.signal);
  try {
    await inTransaction(sql, async (tx) => {
      if (kept !== undefined) await rename(tx, database, kept);
      await rename(tx, prepared, database);
      for (const statement of databaseStatements(database, facts)) await tryStatement(tx, statement, onWarning);
    });
  } catch (error) {
    throw errorCode(error) === objectInUse ? await sessionsRemain(other, database) : error;
  } finally {
    controller.abort();
    await ending;
  }
}

async function rename(tx: Sql, from: string, to: string): Promise<void> {
  await tx.unsafe(`alter database ${quoteIdentifier(from)} rename to ${quoteIdentifier(to)}`);
}

/** A setting may be unknown to this server, or need a superuser. The data is more important. */
async function tryStatement(tx: Sql, statement: string, onWarning: (text: string) => void): Promise<void> {
  try {
    await inSavepoint(tx, async (savepoint) => savepoint.unsafe(statement));
  } catch (error) {
    if (!isRefusal(error)) throw error;
    onWarning(`not restored: ${statement}: ${(error as Error).message}`);
  }
}

const pollIntervalMs = 20;

/** Ends sessions until the signal is aborted. Ignores failures: the rename reports the sessions that remain. */
async function endSessions(sql: Sql, database: string, signal: AbortSignal): Promise<void> {
  const endOnce = async () => {
    await sql`
      select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
      where datname = ${database} and backend_type = 'client backend'`.catch(() => {});
    return undefined;
  };
  const poll = { timeoutMs: Number.POSITIVE_INFINITY, intervalMs: pollIntervalMs, signal };
  await pollUntil(endOnce, poll).catch(() => {});
}

async function sessionsRemain(sql: Sql, database: string): Promise<ScriptError> {
  const sessions = await sql<{ pid: number; login: string | null; application: string | null }[]>`
    select pid, usename::text as login, application_name as application from pg_catalog.pg_stat_activity
    where datname = ${database} order by pid`;
  const descriptions = sessions.map(
    ({ pid, login, application }) => `${pid} (${login ?? "?"}, ${application || "no name"})`,
  );
  return new ScriptError({
    code: "SESSIONS",
    exitCode: exitCodes.notReady,
    message: `Sessions in ${database} could not be ended; the database is unchanged`,
    why: `Connected sessions: ${descriptions.join(", ") || "none remain"}.`,
    fix: "Stop these applications, or grant this login pg_signal_backend, then run this again.",
  });
}

function shorten(database: string, end: string): string {
  let start = database;
  while (Buffer.byteLength(start) + Buffer.byteLength(end) > nameBytes) start = [...start].slice(0, -1).join("");
  return start + end;
}
