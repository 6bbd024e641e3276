import { exitCodes, ScriptError } from "./script-error.ts";

const reasons: Readonly<Record<string, readonly [why: string, fix: string]>> = {
  ENOSPC: ["The disk is full.", "Free some space, then run this again."],
  EDQUOT: ["The disk quota of this user is used up.", "Free some space, then run this again."],
  EACCES: ["This user lacks the permission.", "Grant this user access, or run this as the owner."],
  EPERM: ["This user lacks the permission.", "Grant this user access, or run this as the owner."],
  EROFS: ["The file system is read-only.", "Mount it writable, or set CQRS_STACK_DIR to a writable folder."],
  ENOTDIR: ["A part of the path is a file, not a folder.", "Move that file, or choose another folder."],
  EISDIR: ["It is a folder, not a file.", "Move that folder, or pass another path."],
  ENAMETOOLONG: ["The path is too long for this system.", "Set CQRS_STACK_DIR to a folder with a shorter path."],
  ELOOP: ["Symbolic links in the path form a loop.", "Fix the links, or choose another folder."],
  EMFILE: ["This process has reached its limit of open files.", "Raise the limit with ulimit -n."],
};

/** Reasons that these codes have only when a file or folder is created. */
const creationReasons: typeof reasons = {
  EEXIST: ["It is a file, not a folder.", "Move that file, or choose another folder."],
  ENOENT: ["Nothing can be created at that path.", "Choose another folder."],
};

/**
 * Handles the rejection of a call that creates a file or a folder.
 *
 * @param path what could not be created or written to
 */
export function explainCreation(path: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    const { code = "", syscall = "create" } = error;
    const reason = creationReasons[code];
    if (reason === undefined) throw explainFileError(error, path);
    throw folderUnusable(path, `${reason[0]} (${code}, ${syscall})`, reason[1]);
  };
}

/**
 * Explains an error of the file system.
 *
 * @param knownPath the path that was used, since not every error names it
 * @returns the error to report instead; an error of another kind is returned unchanged
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
    fix: "Pass the permissions that scripts/README.md lists.",
  });
}

/** @returns the error of an unusable file or folder (exit 9) */
export function folderUnusable(path: string, why: string, fix: string): ScriptError {
  return new ScriptError({
    code: "FOLDER_UNUSABLE",
    exitCode: exitCodes.prerequisite,
    message: `Cannot use ${path}`,
    why,
    fix,
  });
}
