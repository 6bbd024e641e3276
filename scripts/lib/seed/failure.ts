import { exitCodes, ScriptError } from "../cli/script-error.ts";

const nothing = "Fix the file, then run this again. Nothing was loaded.";

/** @returns the error for a file that is not as it must be */
export function wrongFile(place: string, problem: string, fix: string = nothing): ScriptError {
  return new ScriptError({ code: "SEED_FILE", exitCode: exitCodes.usage, message: `${place}: ${problem}`, fix });
}

/** @returns the error for something in the file that was refused when it ran */
export function seedFailed(place: string, problem: string, why?: string): ScriptError {
  return new ScriptError({
    code: "SEED_FAILED",
    exitCode: exitCodes.bug,
    message: `${place}: ${problem}`,
    ...(why === undefined || why === "" ? {} : { why }),
    fix: nothing,
  });
}

/** @returns the error for events that conflict with those in the log */
export function seedConflict(message: string, why: string, fix: string): ScriptError {
  return new ScriptError({ code: "SEED_CONFLICT", exitCode: exitCodes.refused, message, why, fix });
}
