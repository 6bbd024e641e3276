import { setTimeout as sleep } from "node:timers/promises";
import { locked } from "../cli/errors.ts";
import type { ScriptError } from "../cli/script-error.ts";
import { describeHolder, type LockHolder, takeAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";
import { isConflict } from "../postgres/failure.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { watchBlockers } from "./blockers.ts";
import { statementFailed, transactionEnded } from "./failures.ts";
import { createLedger, ledgerStatement } from "./ledger.ts";
import type { Place, PreparedFile } from "./prepare.ts";
import { canRunAtOnce, runAtOnce } from "./run-at-once.ts";
import type { ParsedStatement } from "./statements.ts";

/** A session that applies the files of one source. */
export interface FileSession {
  /** A pool of one session. */
  readonly sql: Sql;
  /** The role that the files run as. */
  readonly role: string;
  /** The login that the ledger names. */
  readonly appliedBy: string;
  /** An idle session, to look at the locks. */
  readonly observer: Sql;
  /** The process that serves the session, once it holds the lock; the caller forgets it with the session. */
  readonly backend: { pid: number | undefined };
  readonly limits: RunLimits;
}

/** How long to wait while files are applied. */
export interface RunLimits {
  /** For the locks of one statement. What waits longer is rolled back and tried again, so that others get through. */
  readonly lockTimeoutMs: number;
  /** For one statement; 0: no limit. */
  readonly statementTimeoutMs: number;
  /** For all attempts at a file. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called for each session that a file waits for, and before each further attempt. */
  readonly onBlocked: (text: string) => void;
}

/**
 * Runs files and writes them to the ledger, all in one transaction.
 *
 * @param isDryRun whether to roll it back
 */
export async function runTogether(
  session: FileSession,
  files: readonly [PreparedFile, ...PreparedFile[]],
  isDryRun: boolean,
): Promise<void> {
  const place: Place = { prepared: files[0], statement: undefined, isDryRun };
  const rollback = Symbol("rollback");
  const work = async (tx: Sql) => {
    if (session.backend.pid === undefined) throw replaced;
    if (files[0].file.source === "cqrs") await createLedger(tx);
    for (const prepared of files) {
      place.prepared = prepared;
      await runFile(tx, session, place);
    }
    if (isDryRun) {
      // What a commit would check.
      await tx`set constraints all immediate`;
      throw rollback;
    }
  };
  try {
    await attempt(session, place, () => inTransaction(session.sql, work));
  } catch (error) {
    if (error !== rollback) throw error;
  }
}

/**
 * Runs work, and again after it was rolled back because of other sessions.
 *
 * @throws {ScriptError} `MIGRATION_FAILED` or `MIGRATION_STOPPED`, with the place
 */
export async function attempt(session: FileSession, place: Place, work: () => Promise<void>): Promise<void> {
  const { backend, limits, observer } = session;
  const waitsFor = (holder: string) => limits.onBlocked(`${place.prepared.file.name} waits for ${holder}`);
  await using watch = watchBlockers(observer, () => backend.pid, waitsFor);
  for (const deadline = performance.now() + limits.timeoutMs; ; ) {
    await excludeEarlierRun(session);
    try {
      return await work();
    } catch (error) {
      if (error === replaced) continue;
      if (!isConflict(error) || performance.now() > deadline)
        throw await statementFailed(place, error, { blocker: watch.last, observer });
      limits.onBlocked(`${place.prepared.file.name}: ${(error as Error).message}; trying again`);
      await sleep(pauseMs, undefined, { signal: limits.signal });
    }
  }
}

/** Runs one statement by itself, so that the server refuses a text that it reads as several. */
export async function runStatement(sql: Sql, place: Place, statement: ParsedStatement): Promise<void> {
  place.statement = statement;
  await sql.unsafe(statement.text, [], { simple: false } as object);
}

/** Takes back the settings that a file has changed. */
export async function resetSession(sql: Sql, role: string): Promise<void> {
  await sql.unsafe(resetStatements(role)).simple();
}

const pauseMs = 500;

/** The session was replaced by one that does not hold the lock. */
const replaced = Symbol("replaced");

/** The server may still be running a statement of a process that was killed; its session holds this lock. */
async function excludeEarlierRun({ sql, backend, limits }: FileSession): Promise<void> {
  if (backend.pid !== undefined) return;
  const { timeoutMs, signal } = limits;
  const lock = await takeAdvisoryLock(sql, { tag: "schr", name: "" }, { timeoutMs, signal });
  if (!lock.isTaken) throw earlierRun(lock.holder, timeoutMs);
  const [row] = await sql<{ pid: number }[]>`select pg_catalog.pg_backend_pid() as pid`;
  backend.pid = row?.pid;
}

async function runFile(tx: Sql, session: FileSession, place: Place): Promise<void> {
  const { file, statements } = place.prepared;
  const { appliedBy, role, limits } = session;
  const startedAt = performance.now();
  const [started] = await lastRows<{ id: string }>(tx, `${limitStatements(limits)}; ${currentTransaction} as id`);
  if (canRunAtOnce(statements)) await runAtOnce(tx, place);
  else for (const statement of statements) await runStatement(tx, place, statement);
  place.statement = undefined;
  const durationMs = Math.round(performance.now() - startedAt);
  const note = { file, checksum: file.checksum, appliedBy, durationMs };
  const isNoted = ledgerStatement(note, `pg_catalog.pg_current_xact_id()::text = '${started?.id}'`);
  const noted = await lastRows(tx, `${resetStatements(role)}; ${isNoted}`);
  if (noted.length === 0) throw transactionEnded(place.prepared);
}

function earlierRun(holder: LockHolder | undefined, timeoutMs: number): ScriptError {
  return locked(
    "The server is still running a statement of an earlier run, which was killed",
    `${describeHolder(holder)} held the lock for ${timeoutMs} ms.`,
    "Wait for that session, or end it with select pg_terminate_backend(<session>), then run this again.",
  );
}

const currentTransaction = "select pg_catalog.pg_current_xact_id()::text";

function limitStatements({ lockTimeoutMs, statementTimeoutMs }: RunLimits): string {
  return `set local lock_timeout = ${lockTimeoutMs}; set local statement_timeout = ${statementTimeoutMs}`;
}

function resetStatements(role: string): string {
  return `reset session authorization; reset all; set role ${role}`;
}

/** @returns the rows of the last of several statements */
async function lastRows<Row>(sql: Sql, statements: string): Promise<readonly Row[]> {
  const results = (await sql.unsafe(statements).simple()) as unknown as readonly Row[][];
  return results.at(-1) ?? [];
}
