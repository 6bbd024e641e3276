import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isClone, isInImage } from "../paths.ts";
import type { LedgerEntry } from "./ledger.ts";
import { nextNumber, optionalName, type SchemaFile, type SchemaSource, titleOf } from "./source.ts";

/** The result of comparing the files with the ledger. */
export interface SchemaPlan {
  /** The files to apply, in order. */
  readonly pending: readonly SchemaFile[];
  readonly applied: readonly LedgerEntry[];
}

/** A difference between the files and the ledger for which nothing can be applied. */
export type SchemaConflict =
  /** It was edited after it was applied. */
  | { readonly kind: "edited"; readonly file: SchemaFile }
  /** It was applied under another name. */
  | { readonly kind: "renamed"; readonly file: SchemaFile; readonly entry: LedgerEntry }
  /** It was applied, and the file is missing. */
  | { readonly kind: "missing"; readonly entry: LedgerEntry }
  /** It comes before one that was applied. */
  | { readonly kind: "out-of-order"; readonly file: SchemaFile; readonly last: string };

/**
 * Compares the files with the ledger.
 *
 * @param wanted names of optional files to apply; those already applied need not be listed
 * @throws {ScriptError} `SCHEMA_DRIFT` (exit 4) for the first conflict; `UNKNOWN_OPTION` (exit 2) if there is no
 * optional file of that name
 */
export function planSchema(
  files: readonly SchemaFile[],
  applied: readonly LedgerEntry[],
  wanted: readonly string[] = [],
): SchemaPlan {
  checkWanted(files, wanted);
  const [conflict] = findConflicts(files, applied);
  if (conflict !== undefined) throw conflictError(conflict, files);
  const isWanted = (file: SchemaFile) =>
    file.kind !== "optional" || entryOf(file, applied) !== undefined || wanted.includes(optionalName(file));
  return { pending: files.filter((file) => isWanted(file) && !isComplete(file, entryOf(file, applied))), applied };
}

/**
 * Finds all conflicts between the files and the ledger. The image of the init container has no file of a project, so
 * those in the ledger are not missed there.
 */
export function findConflicts(files: readonly SchemaFile[], applied: readonly LedgerEntry[]): SchemaConflict[] {
  return (["cqrs", "app"] as const).flatMap((source) => {
    const own = files.filter((file) => file.source === source);
    const entries = applied.filter((entry) => entry.source === source);
    return source === "app" && own.length === 0 && isInImage() ? [] : findOwnConflicts(own, entries);
  });
}

function findOwnConflicts(files: readonly SchemaFile[], applied: readonly LedgerEntry[]): SchemaConflict[] {
  const once = files.filter(({ kind }) => kind !== "routine");
  const names = new Set(files.map(({ name }) => name));
  const isNew = (file: SchemaFile) => entryOf(file, applied) === undefined;
  const missing = applied.filter(({ name }) => !name.startsWith("routines/") && !names.has(name));
  const last = applied.findLast(({ name }) => name.startsWith("migrations/"))?.name ?? "";
  const conflicts: SchemaConflict[] = [];
  const renamed = new Set<SchemaFile>();
  for (const entry of missing) {
    const file = once.find((one) => isNew(one) && isRenamed(one, entry));
    if (file !== undefined) renamed.add(file);
    conflicts.push(file === undefined ? { kind: "missing", entry } : { kind: "renamed", file, entry });
  }
  for (const file of once) {
    const entry = entryOf(file, applied);
    if (entry !== undefined && entry.progress === null && entry.checksum !== file.checksum)
      conflicts.push({ kind: "edited", file });
    if (entry === undefined && !renamed.has(file) && file.kind === "migration" && file.name < last)
      conflicts.push({ kind: "out-of-order", file, last });
  }
  return conflicts;
}

function isRenamed(file: SchemaFile, { name, checksum }: LedgerEntry): boolean {
  return file.checksum === checksum && name.split("/")[0] === file.name.split("/")[0];
}

/** @returns the row of a file in the ledger */
export function entryOf({ source, name }: SchemaFile, applied: readonly LedgerEntry[]): LedgerEntry | undefined {
  return applied.find((entry) => entry.source === source && entry.name === name);
}

function isComplete(file: SchemaFile, entry: LedgerEntry | undefined): boolean {
  return entry !== undefined && entry.progress === null && entry.checksum === file.checksum;
}

function checkWanted(files: readonly SchemaFile[], wanted: readonly string[]): void {
  const known = files.filter(({ kind }) => kind === "optional").map(optionalName);
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new ScriptError({
    code: "UNKNOWN_OPTION",
    exitCode: exitCodes.usage,
    message: `The schema has no optional file ${JSON.stringify(unknown)}`,
    why: "Optional files are in sql/optional.",
    fix: `Choose one of: ${known.join(", ") || "none"}.`,
  });
}

/** @returns a conflict in one phrase */
export function describeConflict(conflict: SchemaConflict): string {
  switch (conflict.kind) {
    case "edited":
      return `${titleOf(conflict.file)} was edited after it was applied`;
    case "renamed":
      return `${titleOf(conflict.entry)} was renamed to ${conflict.file.name} after it was applied`;
    case "missing":
      return `${titleOf(conflict.entry)} was applied to this database, but the file is missing`;
    case "out-of-order":
      return `${titleOf(conflict.file)} comes before ${conflict.last}, which is already applied`;
  }
}

const reasons: Readonly<Record<SchemaConflict["kind"], string>> = {
  edited: "Its checksum differs from the one in the ledger. Applied migrations must not change.",
  renamed: "The ledger has the same content under the earlier name.",
  missing: "The database is newer than these files, or the file was removed.",
  "out-of-order": "Applying it now would give this database a different order of migrations than others.",
};

/** @returns whose files a conflict concerns */
export function sourceOf(conflict: SchemaConflict): SchemaSource {
  return "entry" in conflict ? conflict.entry.source : conflict.file.source;
}

/** @returns the error of a conflict, for which nothing can be applied */
export function conflictError(conflict: SchemaConflict, files: readonly SchemaFile[]): ScriptError {
  return new ScriptError({
    code: "SCHEMA_DRIFT",
    exitCode: exitCodes.drift,
    message: describeConflict(conflict),
    why: `${reasons[conflict.kind]} Nothing was applied.`,
    fix: adviseOn(conflict, files),
  });
}

function adviseOn(conflict: SchemaConflict, files: readonly SchemaFile[]): string {
  const isOfProject = sourceOf(conflict) === "app";
  const repair = isOfProject ? ` If the change is meant to stay, run ${runLine("schema repair")}.` : "";
  switch (conflict.kind) {
    case "edited":
      return `${undoEdit(conflict.file)} and write the change as a new migration.${repair}`;
    case "renamed":
      return `Give it its earlier name.${repair}`;
    case "missing":
      return conflict.entry.source === "cqrs"
        ? "Use the newer version of cqrs-postgres."
        : `Get the newer files, or restore this one.${repair}`;
    case "out-of-order": {
      const next = nextNumber(files.filter(({ source }) => source === conflict.file.source).map(({ name }) => name));
      return `Give it a number after the last one, such as ${next}${isOfProject ? `, or run ${runLine("schema repair")}` : ""}.`;
    }
  }
}

function undoEdit({ source, path }: SchemaFile): string {
  return isClone || source === "app" ? `Undo the edit (git checkout -- ${path})` : "Install the package again";
}
