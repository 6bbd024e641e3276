import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { explainServerError } from "../cli/server-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { errorCode, isConflict, isFromServer, isServerTrouble } from "../postgres/failure.ts";
import { offsetOf } from "./placeholders.ts";
import type { Place, PreparedFile } from "./prepare.ts";

/** What is known about the circumstances of a statement that failed. */
interface Circumstances {
  /** The session that was waited for last. */
  readonly blocker: string | undefined;
  /** Another session. */
  readonly observer: Sql;
}

/** @returns the error for a statement that failed; other errors than the server's unchanged */
export async function statementFailed(
  place: Place,
  error: unknown,
  { blocker, observer }: Circumstances,
): Promise<unknown> {
  if (!isFromServer(error)) return error;
  const { code, message, detail, hint, position, where } = error as Record<string, string | undefined>;
  const at = describePlace(place, position);
  const kept = whatIsKept(place);
  const explained = (await isAboutServer(error, observer)) ? explainServerError(error) : error;
  if (explained instanceof ScriptError) {
    const fix = `${explained.fix} ${kept}`;
    return new ScriptError({ ...explained, message: explained.message, why: `${at}: ${message} (${code})`, fix });
  }
  if (isConflict(error) || isServerTrouble(error)) {
    const holder = blocker === undefined ? [] : [`It waited for ${blocker}.`];
    return migrationStopped(at, [`${message} (${code})`, ...holder].join("\n"), kept);
  }
  const reasons = [`${message} (${code})`, detail, hint, position === undefined ? where : undefined];
  return new ScriptError({
    code: "MIGRATION_FAILED",
    exitCode: exitCodes.bug,
    message: `${at}: ${message}`,
    why: reasons.filter((reason) => reason !== undefined).join("\n"),
    fix: `Fix the file, then run ${runLine("schema apply")} again. ${kept}`,
  });
}

/** A file's own mistakes have the same codes: it may name a library that does not exist, or set itself to read-only. */
async function isAboutServer(error: unknown, observer: Sql): Promise<boolean> {
  const code = errorCode(error);
  if (code === "58P01") return ownFile.test((error as Error).message);
  if (code === "25006") return await acceptsNoChanges(observer).catch(() => true);
  return code === "53100" || code === "58030";
}

/** A path below the data directory. */
const ownFile = /"(base|global|pg_\w+)\//;

async function acceptsNoChanges(observer: Sql): Promise<boolean> {
  const [row] = await observer<{ isReadOnly: boolean }[]>`
    select pg_catalog.pg_is_in_recovery() or reset_val = 'on' as "isReadOnly"
    from pg_catalog.pg_settings where name = 'default_transaction_read_only'`;
  return row?.isReadOnly === true;
}

/** @returns the error for a file that has ended its transaction in a way that the parser did not recognise */
export function transactionEnded({ file }: PreparedFile): ScriptError {
  return new ScriptError({
    code: "TRANSACTION_ENDED",
    exitCode: exitCodes.bug,
    message: `${file.path} ended the transaction that it was applied in`,
    why: "What came before the end stays in the database, although the ledger does not have the file.",
    fix: "Undo by hand what the file has done, and remove what ends the transaction.",
  });
}

/** `file:line:column`; of an error without a position, the line is that of the statement. */
function describePlace({ prepared, statement }: Place, position: string | undefined): string {
  const { file, expanded } = prepared;
  if (statement === undefined) return file.path;
  const offset = position === undefined ? 0 : offsetOf(statement.text, Number(position));
  return `${file.path}:${expanded.locate(statement.start + offset)}`;
}

function whatIsKept({ prepared, isDryRun }: Place): string {
  const { file, isTransactional } = prepared;
  if (isDryRun) return "This was a dry run: nothing was applied.";
  if (!isTransactional) return "Its statements before this one stay applied, and the next run goes on with this one.";
  return file.kind === "routine"
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
