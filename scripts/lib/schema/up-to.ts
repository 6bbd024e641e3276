import { usageError } from "../cli/errors.ts";
import { numberOf, type SchemaFile } from "./source.ts";

/**
 * Leaves out the project's migrations after a number. Its routines may need them, and are left out with them.
 *
 * @throws {ScriptError} `USAGE` (exit 2) if the project has no migration with the number
 */
export function upTo(pending: readonly SchemaFile[], files: readonly SchemaFile[], to: string): SchemaFile[] {
  const isOfProject = ({ source, kind }: SchemaFile) => source === "app" && kind === "migration";
  const last = files.find((file) => isOfProject(file) && numberOf(file.name) === to);
  if (last === undefined) {
    const numbers = files.filter(isOfProject).map(({ name }) => numberOf(name));
    throw usageError(
      `--to ${to}: the project has no such migration`,
      `Choose one of: ${numbers.join(", ") || "none"}.`,
    );
  }
  const isLeftOut = (file: SchemaFile) => isOfProject(file) && file.name > last.name;
  const isShort = files.some(isLeftOut);
  return pending.filter((file) => !isLeftOut(file) && !(isShort && file.source === "app" && file.kind === "routine"));
}
