import { createHash } from "node:crypto";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { isFromServer } from "../postgres/failure.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { type LedgerEntry, type Progress, writeLedger } from "./ledger.ts";
import { cannotRunInTransaction } from "./outside-transaction.ts";
import type { Place, PreparedFile } from "./prepare.ts";
import { clearRemains, findCompletion, isCompleted } from "./remains.ts";
import { attempt, type FileSession, resetSession, runStatement } from "./run-files.ts";
import { titleOf } from "./source.ts";
import { kindOf, type ParsedStatement } from "./statements.ts";

/** A file without a transaction, and how far it is. */
interface Run {
  readonly session: FileSession;
  readonly prepared: PreparedFile;
  readonly place: Place;
  readonly startedAt: number;
  /** The session that has the settings of the statements before. */
  pid: number | undefined;
}

/**
 * Runs the statements of a file one by one, and notes each in the ledger: in the transaction that runs it, or, if it
 * cannot run in one, before and after. Goes on where an earlier run has stopped.
 *
 * @param entry the file's row in the ledger
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4) if a statement that was run has changed
 */
export async function runStatements(
  session: FileSession,
  prepared: PreparedFile,
  entry: LedgerEntry | undefined,
): Promise<void> {
  const { statements, file } = prepared;
  const progress = entry?.progress ?? { statements: 0, isInDoubt: false };
  if (entry !== undefined && progressChecksum(prepared, progress.statements) !== entry.checksum) {
    throw changedSince(prepared, progress.statements);
  }
  const run: Run = {
    session,
    prepared,
    place: { prepared, statement: undefined, isDryRun: false },
    startedAt: performance.now(),
    pid: undefined,
  };
  for (const index of statements.keys()) {
    if (index >= progress.statements) await runNext(run, index, progress.isInDoubt && index === progress.statements);
  }
  await resetSession(session.sql, session.role);
  await writeLedger(session.sql, { ...noteOf(run), checksum: file.checksum });
}

/** @returns the checksum of the first statements of a file */
export function progressChecksum({ statements }: Pick<PreparedFile, "statements">, count: number): string {
  const texts = statements.slice(0, count).map(({ text }) => text);
  return createHash("sha256").update(JSON.stringify(texts)).digest("hex");
}

async function runNext(run: Run, index: number, isInDoubt: boolean): Promise<void> {
  const statement = run.prepared.statements[index] as ParsedStatement;
  run.place.statement = statement;
  const work = needsNoTransaction(statement)
    ? () => runOutside(run, index, isInDoubt)
    : () => inTransaction(run.session.sql, (tx) => runInside(tx, run, index));
  await attempt(run.session, run.place, async () => {
    await prepareSession(run, index);
    await work();
  });
}

/** Gives a new session the limit for statements, and the settings of the statements before, which rely on them. */
async function prepareSession(run: Run, count: number): Promise<void> {
  const { backend, limits, sql } = run.session;
  if (run.pid === backend.pid) return;
  await sql.unsafe(`set statement_timeout = ${limits.statementTimeoutMs}`);
  const before = run.prepared.statements.slice(0, count).filter((one) => kindOf(one) === "VariableSetStmt");
  for (const statement of before) await sql.unsafe(statement.text, [], { simple: false } as object);
  run.pid = backend.pid;
}

/** A procedure or a block may commit, which a transaction around it would refuse. */
function needsNoTransaction(statement: ParsedStatement): boolean {
  return cannotRunInTransaction(statement) || ["CallStmt", "DoStmt"].includes(kindOf(statement));
}

async function runInside(tx: Sql, run: Run, index: number): Promise<void> {
  const { lockTimeoutMs } = run.session.limits;
  // A limit that the file itself has set counts.
  await tx`
    select set_config('lock_timeout', ${`${lockTimeoutMs}`}, true) where current_setting('lock_timeout') = '0'`;
  await runStatement(tx, run.place, run.prepared.statements[index] as ParsedStatement);
  await note(tx, run, { statements: index + 1, isInDoubt: false });
}

async function runOutside(run: Run, index: number, isInDoubt: boolean): Promise<void> {
  const { sql } = run.session;
  const statement = run.prepared.statements[index] as ParsedStatement;
  if (!isInDoubt || !(await isCompleted(sql, statement))) {
    const completion = await findCompletion(sql, statement);
    await clearRemains(sql, statement);
    await note(sql, run, { statements: index, isInDoubt: true });
    try {
      await runStatement(sql, run.place, completion === undefined ? statement : { ...statement, text: completion });
    } catch (error) {
      // The server says that it failed, so it was not completed.
      if (isFromServer(error)) await note(sql, run, { statements: index, isInDoubt: false }).catch(() => {});
      throw error;
    }
  }
  await note(sql, run, { statements: index + 1, isInDoubt: false });
}

async function note(sql: Sql, run: Run, progress: Progress): Promise<void> {
  await writeLedger(sql, { ...noteOf(run), checksum: progressChecksum(run.prepared, progress.statements), progress });
}

function noteOf({ session, prepared, startedAt }: Run) {
  return {
    file: prepared.file,
    appliedBy: session.appliedBy,
    durationMs: Math.round(performance.now() - startedAt),
  };
}

function changedSince({ file }: PreparedFile, count: number): ScriptError {
  return new ScriptError({
    code: "SCHEMA_DRIFT",
    exitCode: exitCodes.drift,
    message: `${titleOf(file)} is half applied, and what was applied has changed`,
    why: `Its first ${count} statements were run, and are not the same any more. Nothing was applied.`,
    fix: `Undo the change of these statements (git checkout -- ${file.path}). If it is meant to stay, run ${runLine("schema repair")}.`,
  });
}
