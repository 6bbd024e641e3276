import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { lineAndColumn } from "./placeholders.ts";
import type { SchemaFile } from "./source.ts";

/** Bodies of functions, strings, quoted names and comments: what they contain is no statement of the file. */
const quoted = /\$(\w*)\$[\s\S]*?\$\1\$|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\//g;

/** Statements that a file must not contain, at the start of the file or after another statement, and why. */
const refused: readonly (readonly [RegExp, string])[] = [
  [
    /(?<=^|;)\s*(begin|start|commit|rollback|abort)(\s+(work|transaction)\b[^;]*)?\s*(;|$)/gi,
    "A file is applied in one transaction with its row in the ledger; transaction control would separate the two.",
  ],
  [/(?<=^|;)\s*copy\b[^;]*\bfrom\s+stdin\b/gi, "COPY … FROM STDIN has no input here; the session would hang."],
];

/**
 * Refuses statements that could not be rolled back with the rest of a file, or would never end.
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
    message: `${file.path}:${lineAndColumn(file.text, offset)}: a file of the schema cannot contain this statement`,
    why,
    fix: "Remove it. Nothing was applied.",
  });
}
