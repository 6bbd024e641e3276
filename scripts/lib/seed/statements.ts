import { isUtf8 } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { explainFileError } from "../cli/file-error.ts";
import type { Sql } from "../postgres/driver.ts";
import { isConflict, isFromServer, isServerTrouble } from "../postgres/failure.ts";
import { endsTransaction } from "../schema/outside-transaction.ts";
import { lineAndColumn, offsetOf } from "../schema/placeholders.ts";
import { type ParsedStatement, parseStatements, SyntaxFailure } from "../schema/statements.ts";
import { seedFailed, wrongFile } from "./failure.ts";
import { decode, readLines } from "./lines.ts";
import type { SeedProgress } from "./progress.ts";
import type { SeedFile } from "./sets.ts";

/** The parser needs memory of many times the size of a text. */
const maxBytes = 16 * 1024 * 1024;

/**
 * Runs the statements of a file.
 *
 * @param tx the transaction of the whole file
 * @throws {ScriptError} `SEED_FILE` (exit 2), or `SEED_FAILED` (exit 1), with `file:line:column`
 */
export async function runStatements(tx: Sql, { path }: SeedFile, progress: SeedProgress): Promise<void> {
  const text = await readText(path);
  const statements = await parse(path, text);
  for (const [index, statement] of statements.entries()) {
    try {
      // By itself, so that the server refuses what it reads as several statements.
      await tx.unsafe(statement.text, [], { simple: false } as object);
    } catch (error) {
      throw explain(error, (position) => placeOf(path, text, statement.start + offsetOf(statement.text, position)));
    }
    progress.show(index + 1);
  }
}

async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > maxBytes) {
      const fix = "Split it into several sets, or write the events as .jsonl, which may have any size.";
      throw wrongFile(path, `a .sql file may have at most ${maxBytes / 1024 ** 2} MB`, fix);
    }
    const bytes = await readFile(path);
    // Finds the line that is not UTF-8.
    if (!isUtf8(bytes)) for await (const _ of readLines(path));
    return decode(bytes, path)
      .replace(/^\uFEFF/, "")
      .replaceAll("\r\n", "\n");
  } catch (error) {
    throw explainFileError(error, path);
  }
}

async function parse(path: string, text: string): Promise<ParsedStatement[]> {
  const nul = text.indexOf("\0");
  if (nul >= 0) throw wrongFile(placeOf(path, text, nul), "the file contains a null character");
  const statements = await parseStatements(text).catch((error: unknown) => {
    throw error instanceof SyntaxFailure ? wrongFile(placeOf(path, text, error.offset), error.message) : error;
  });
  for (const statement of statements) {
    const problem = findProblem(statement);
    if (problem !== undefined) throw wrongFile(placeOf(path, text, statement.start), problem);
  }
  return statements;
}

function findProblem(statement: ParsedStatement): string | undefined {
  if (endsTransaction(statement)) return "a seed runs in one transaction; it cannot contain transaction control";
  const copy = "CopyStmt" in statement.node ? statement.node.CopyStmt : undefined;
  const hasNoInput = copy?.is_from === true && copy.filename === undefined && !copy.is_program;
  return hasNoInput ? "COPY … FROM STDIN has no input here; use INSERT" : undefined;
}

function placeOf(path: string, text: string, offset: number): string {
  return `${path}:${lineAndColumn(text, offset)}`;
}

/** What other sessions or the server's state have caused is no error of the file. */
function explain(error: unknown, placeAt: (position: number) => string): unknown {
  if (!isFromServer(error) || isConflict(error) || isServerTrouble(error)) return error;
  const { code, message, detail, hint, position, where } = error as Record<string, string | undefined>;
  const reasons = [code === undefined ? undefined : `SQLSTATE ${code}`, detail, hint, where];
  const why = reasons.filter((reason) => reason !== undefined).join("\n");
  return seedFailed(placeAt(Number(position ?? 1)), message ?? "", why);
}
