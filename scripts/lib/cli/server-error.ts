import { runLine } from "./run-line.ts";
import { exitCodes, ScriptError } from "./script-error.ts";

/** What a PostgreSQL server reports that is wrong with its machine or its role, whatever the statement. */
const conditions: readonly (readonly [sqlState: RegExp, code: string, message: string, fix: string])[] = [
  [
    /^53100$/,
    "SERVER_DISK_FULL",
    "The disk of the PostgreSQL server is full",
    "Free some space on it, then run this again.",
  ],
  [
    /^58(P01|030|000)$/,
    "SERVER_FILES",
    "The PostgreSQL server cannot use its files",
    `Check its disk. If its folder was moved while it was running, run ${runLine("stop")} && ${runLine("bootstrap")}.`,
  ],
  [
    /^25006$/,
    "SERVER_READ_ONLY",
    "The PostgreSQL server accepts no changes",
    "Use the primary server, or turn off default_transaction_read_only.",
  ],
];

/** @returns the error to report instead of a server's (exit 9); an error of another kind is returned unchanged */
export function explainServerError(error: unknown): unknown {
  if (!(error instanceof Error) || !("severity" in error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  const found = conditions.find(([sqlState]) => sqlState.test(code ?? ""));
  return found === undefined ? error : serverUnusable(found, error.message);
}

/** @returns the error of a server whose disk is full (exit 9) */
export function serverDiskFull(why: string): ScriptError {
  return serverUnusable(conditions[0] as (typeof conditions)[number], why);
}

function serverUnusable([, code, message, fix]: (typeof conditions)[number], why: string): ScriptError {
  return new ScriptError({ code, exitCode: exitCodes.prerequisite, message, why, fix });
}
