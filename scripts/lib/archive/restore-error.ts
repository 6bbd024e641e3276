import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { connectionFailure, errorCode, isFromServer, isServerTrouble } from "../postgres/failure.ts";

/** Whether the server refuses what it was asked to restore, as opposed to being unable to work. */
export function isRefusal(error: unknown): boolean {
  return isFromServer(error) && connectionFailure(error) === undefined && !isServerTrouble(error);
}

/**
 * Names what is being restored in the server's error.
 *
 * @throws {ScriptError} `RESTORE_FAILED` (exit 11)
 */
export async function namingObject<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const { message, detail, hint, where } = error as Error & Record<"detail" | "hint" | "where", string | undefined>;
    const reasons = [`${message} (${errorCode(error)})`, detail, hint, where];
    throw new ScriptError({
      code: "RESTORE_FAILED",
      exitCode: exitCodes.verification,
      message: `PostgreSQL cannot restore ${what}`,
      why: reasons.filter((reason) => reason !== undefined).join("\n"),
      fix: "Nothing was changed. Remove the cause and restore again, or restore the events alone: --only event_store.",
    });
  }
}
