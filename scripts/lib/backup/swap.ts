import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/connect.ts";
import { errorCode } from "../postgres/failure.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import { inTransaction } from "../postgres/transaction.ts";

/** PostgreSQL's limit for a name, in bytes. */
const nameBytes = 63;
const objectInUse = "55006";

/** What a database of our own is for; it is never an application's. */
export type TemporaryPurpose = "restoring" | "scratch";

/**
 * Names the database in which a restore or a check of a database is prepared: always the same one, so that what a killed
 * run left is found, and with a digest, so that it is no application's.
 */
export function temporaryDatabase(database: string, purpose: TemporaryPurpose): string {
  const mark = createHash("sha256").update(`${purpose} ${database}`).digest("hex").slice(0, 12);
  return shorten(database, `_${purpose}_${mark}`);
}

/** @returns the name under which a replaced database is kept: `cqrs_db_before_20261125T031500123Z` */
export function keptDatabase(database: string, now: Date): string {
  return shorten(database, `_before_${now.toISOString().replaceAll(/[-:.]/g, "")}`);
}

/** Lists the databases that restores have replaced, the oldest first. */
export async function readKeptDatabases(sql: Sql, database: string): Promise<string[]> {
  const example = keptDatabase(database, new Date(0));
  const prefix = example.slice(0, example.lastIndexOf("_") + 1);
  const rows = await sql<{ name: string }[]>`
    select datname::text as name from pg_catalog.pg_database
    where starts_with(datname::text, ${prefix})
      and substr(datname::text, ${prefix.length + 1}) ~ '^\\d{8}T\\d{9}Z$' order by 1`;
  return rows.map(({ name }) => name);
}

/** Drops a database, whoever is connected to it; nothing happens when there is none. */
export async function dropDatabase(sql: Sql, name: string): Promise<void> {
  await sql.unsafe(`drop database if exists ${quoteIdentifier(name)} with (force)`);
}

/** What a swap is about. */
export interface SwapOptions {
  /** The database that was prepared. */
  readonly prepared: string;
  /** The name it gets. */
  readonly database: string;
  /** The name that the database of that name gets, where there is one. */
  readonly kept: string | undefined;
}

/**
 * Puts a prepared database in the place of another: both are renamed in one transaction.
 *
 * The rename locks its database before it looks for sessions, so that no new one comes in: whoever connects waits, and
 * then is in the new database. Those that are there are ended meanwhile. Nothing has to be undone when this is killed.
 *
 * @param sql a single connection to another database, as a role that may rename both
 * @param other another such connection, that ends sessions while the first one waits
 * @throws {ScriptError} `SESSIONS` (exit 3) when sessions can't be ended
 */
export async function swapDatabases(sql: Sql, other: Sql, options: SwapOptions): Promise<void> {
  const { prepared, database, kept } = options;
  const controller = new AbortController();
  const ending = kept === undefined ? Promise.resolve() : endSessions(other, database, controller.signal);
  try {
    await inTransaction(sql, async (tx) => {
      if (kept !== undefined) await rename(tx, database, kept);
      await rename(tx, prepared, database);
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

const pollIntervalMs = 20;

/** A session that may not be ended by this role stays; the rename then fails, and says so. */
async function endSessions(sql: Sql, database: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sql`
      select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
      where datname = ${database} and backend_type = 'client backend'`.catch(() => {});
    await sleep(pollIntervalMs, undefined, { signal }).catch(() => {});
  }
}

async function sessionsRemain(sql: Sql, database: string): Promise<ScriptError> {
  const sessions = await sql<{ pid: number; login: string | null; application: string | null }[]>`
    select pid, usename::text as login, application_name as application from pg_catalog.pg_stat_activity
    where datname = ${database} order by pid`;
  const named = sessions.map(({ pid, login, application }) => `${pid} (${login ?? "?"}, ${application || "no name"})`);
  return new ScriptError({
    code: "SESSIONS",
    exitCode: exitCodes.notReady,
    message: `Sessions of ${database} could not be ended; it is as it was`,
    why: `These are connected: ${named.join(", ") || "none any more"}.`,
    fix: "Stop the applications, then run this again; this login may lack pg_signal_backend.",
  });
}

function shorten(database: string, end: string): string {
  let start = database;
  while (Buffer.byteLength(start) + Buffer.byteLength(end) > nameBytes) start = [...start].slice(0, -1).join("");
  return start + end;
}
