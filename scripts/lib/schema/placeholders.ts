import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { SchemaFile } from "./source.ts";

/** The values of the placeholders `:{name}`, each a quoted identifier. */
export type Placeholders = Readonly<Record<"database" | "owner" | "app" | "app_owner", string>>;

/** SQL that is ready to be sent, and the mapping from its positions back to the file. */
export interface ExpandedSql {
  readonly text: string;
  /**
   * @param offset in the expanded text, in UTF-16 code units
   * @returns `line:column` in the file, both counted from 1
   */
  locate(offset: number): string;
}

type PlaceholderFile = Pick<SchemaFile, "path" | "text">;

interface Stretch {
  readonly at: number;
  readonly source: number;
}

/** @returns the placeholders' values for a database */
export function placeholdersFor(database: string): Placeholders {
  return {
    database: quoteIdentifier(database),
    owner: quoteIdentifier(groupRoles.owner),
    app: quoteIdentifier(groupRoles.app),
    app_owner: quoteIdentifier(groupRoles.appOwner),
  };
}

/**
 * Replaces each `:{name}` with its value.
 *
 * @throws {ScriptError} `PLACEHOLDER` (exit 2) for an unknown name
 */
export function expandPlaceholders(file: PlaceholderFile, values: Placeholders): ExpandedSql {
  let text = "";
  let readTo = 0;
  /** Where each stretch of copied text begins, in the result and in the file. */
  const stretches: Stretch[] = [{ at: 0, source: 0 }];
  for (const match of file.text.matchAll(/:\{(\w+)\}/g)) {
    const name = match[1] as string;
    if (!Object.hasOwn(values, name)) throw unknownPlaceholder(file, name, lineAndColumn(file.text, match.index));
    text += file.text.slice(readTo, match.index) + values[name as keyof Placeholders];
    readTo = match.index + match[0].length;
    stretches.push({ at: text.length, source: readTo });
  }
  text += file.text.slice(readTo);
  return { text, locate: (offset) => lineAndColumn(file.text, sourceOffset(stretches, offset)) };
}

/** A position inside a value maps to the end of its placeholder. */
function sourceOffset(stretches: readonly Stretch[], offset: number): number {
  const index = stretches.findLastIndex(({ at }) => at <= offset);
  const { at, source } = stretches[index] as Stretch;
  const next = stretches[index + 1]?.source ?? Number.POSITIVE_INFINITY;
  return Math.min(source + offset - at, next);
}

/**
 * @param position in characters, counted from 1, as PostgreSQL reports it
 * @returns the offset in UTF-16 code units
 */
export function offsetOf(text: string, position: number): number {
  return [...text].slice(0, position - 1).join("").length;
}

/** @returns `line:column` of an offset, both counted from 1 */
export function lineAndColumn(text: string, offset: number): string {
  const before = text.slice(0, offset).split("\n");
  return `${before.length}:${[...(before.at(-1) as string)].length + 1}`;
}

function unknownPlaceholder(file: PlaceholderFile, name: string, place: string): ScriptError {
  return new ScriptError({
    code: "PLACEHOLDER",
    exitCode: exitCodes.usage,
    message: `${file.path}:${place}: unknown placeholder :{${name}}`,
    why: "Only :{database}, :{owner}, :{app} and :{app_owner} are replaced.",
    fix: "Use one of these, or write the name itself.",
  });
}
