import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { lineAndColumn } from "./placeholders.ts";
import type { SchemaFile } from "./source.ts";

/** Function bodies, strings, quoted names and comments, whose content does not count as statements of the file. */
const quoted = /\$(\w*)\$[\s\S]*?\$\1\$|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\//g;

/** Statements that a file must not contain, and why. They match at the start of the file or after a semicolon. */
const refused: readonly (readonly [RegExp, string])[] = [
  [
    /(?<=^|;)\s*(begin|start|commit|rollback|abort)(\s+(work|transaction)\b[^;]*)?\s*(;|$)/gi,
    "A file is applied in the same transaction as its row in the ledger; transaction control would separate the two.",
  ],
  [/(?<=^|;)\s*copy\b[^;]*\bfrom\s+stdin\b/gi, "COPY … FROM STDIN has no input here; the session would hang."],
];

/**
 * Rejects statements that could not be rolled back with the rest of a file, or that would never finish.
 *
 * @throws {ScriptError} `STATEMENT_REFUSED` (exit 2) with `file:line:column`
 */
export function checkStatements(file: SchemaFile): void {
  if (/^--\s*no-transaction\b/m.test(file.text)) {
    throw statementRefused(file, 0, "Applying a file outside a transaction is not supported.");
  }
  const statements = file.text.replace(quoted, (text) => " ".repeat(text.length));
  for (const [pattern, why] of refused) {
    const match = pattern.exec(statements);
    pattern.lastIndex = 0;
    if (match !== null) throw statementRefused(file, match.index + match[0].search(/\S/), why);
  }
}

function statementRefused(file: SchemaFile, offset: number, why: string): ScriptError {
  return new ScriptError({
    code: "STATEMENT_REFUSED",
    exitCode: exitCodes.usage,
    message: `${file.path}:${lineAndColumn(file.text, offset)}: a schema file cannot contain this statement`,
    why,
    fix: "Remove the statement. Nothing was applied.",
  });
}
