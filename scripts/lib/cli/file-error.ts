import { exitCodes, ScriptError } from "./script-error.ts";

const reasons: Readonly<Record<string, readonly [why: string, fix: string]>> = {
  ENOSPC: ["The disk is full.", "Free some space, then run this again."],
  EDQUOT: ["The disk quota of this user is used up.", "Free some space, then run this again."],
  EACCES: ["This user may not do that.", "Give this user access, or run this as the owner."],
  EPERM: ["This user may not do that.", "Give this user access, or run this as the owner."],
  EROFS: ["The file system is read-only.", "Choose a folder that can be written to: CQRS_STACK_DIR."],
  ENOTDIR: ["A part of the path is a file, not a folder.", "Move that file away, or choose another folder."],
  EISDIR: ["It is a folder, not a file.", "Move that folder away."],
  ENAMETOOLONG: ["The path is too long for this system.", "Choose a folder with a shorter path: CQRS_STACK_DIR."],
  ELOOP: ["Links in the path lead in a circle.", "Mend the links, or choose another folder."],
  EMFILE: ["This process may not open more files.", "Raise the limit: ulimit -n"],
};

/**
 * Makes an error for people of one that the file system gave.
 *
 * @param knownPath what was asked for, as not every error says so
 * @returns the error to report in its place: the same one when it is of another kind
 */
export function explainFileError(error: unknown, knownPath?: string): unknown {
  const { code, path = knownPath, syscall } = error as NodeJS.ErrnoException;
  const reason = reasons[code ?? ""];
  if (error instanceof Error && error.name === "NotCapable") return notPermitted(error.message);
  if (!(error instanceof Error) || reason === undefined) return error;
  return folderUnusable(path ?? "the stack directory", `${reason[0]} (${code}, ${syscall ?? "access"})`, reason[1]);
}

function notPermitted(why: string): ScriptError {
  return new ScriptError({
    code: "DENO_PERMISSION",
    exitCode: exitCodes.prerequisite,
    message: "Deno does not permit what this script needs",
    why,
    fix: "Give it the permissions that the README lists.",
  });
}

/** @returns the error of a file or folder that can't be used (exit 9) */
export function folderUnusable(path: string, why: string, fix: string): ScriptError {
  return new ScriptError({
    code: "FOLDER_UNUSABLE",
    exitCode: exitCodes.prerequisite,
    message: `Can't use ${path}`,
    why,
    fix,
  });
}
