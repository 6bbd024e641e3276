import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { lineAndColumn } from "./placeholders.ts";
import type { SchemaFile } from "./source.ts";

/** Bodies of functions, texts and comments: what stands in them is no statement of the file. */
const quoted = /\$(\w*)\$[\s\S]*?\$\1\$|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\//g;

/** What a file may not have, as it begins after another statement or the file's beginning. */
const refused: readonly (readonly [RegExp, string])[] = [
  [
    /(?<=^|;)\s*(begin|start|commit|rollback|abort)(\s+(work|transaction)\b[^;]*)?\s*(;|$)/gi,
    "A file is applied in a transaction with its row in the ledger; one of its own would tear them apart.",
  ],
  [
    /(?<=^|;)\s*copy\b[^;]*\bfrom\s+stdin\b/gi,
    "There is nobody to send the rows: the session would wait for them for ever.",
  ],
];

/**
 * Refuses what can't be undone together with the rest of a file, or would never end.
 *
 * @throws {ScriptError} `STATEMENT_REFUSED` (exit 2) with `file:line:column`
 */
export function checkStatements(file: SchemaFile): void {
  if (/^--\s*no-transaction\b/m.test(file.text)) {
    throw statementRefused(file, 0, "Files outside a transaction are not supported yet.");
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
    message: `${file.path}:${lineAndColumn(file.text, offset)}: a migration can't have this statement`,
    why,
    fix: "Take it out; nothing was applied.",
  });
}
