import type { IndexStmt } from "libpg-query";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { isRunWithoutTransaction } from "./no-transaction.ts";
import { cannotRunInTransaction, endsTransaction } from "./outside-transaction.ts";
import { type ExpandedSql, expandPlaceholders, type Placeholders } from "./placeholders.ts";
import type { SchemaFile } from "./source.ts";
import { kindOf, type ParsedStatement, parseStatements, SyntaxFailure } from "./statements.ts";

/** A file that is ready to be run. */
export interface PreparedFile {
  readonly file: SchemaFile;
  readonly expanded: ExpandedSql;
  readonly statements: readonly ParsedStatement[];
  /** Whether all of it is run in one transaction, with its row in the ledger. */
  readonly isTransactional: boolean;
}

/** What is being run, for the message if it fails. */
export interface Place {
  prepared: PreparedFile;
  statement: ParsedStatement | undefined;
  /** Whether everything is rolled back anyway. */
  readonly isDryRun: boolean;
}

/**
 * Parses a file, and rejects statements that could not be rolled back with the rest of it, or that would never finish.
 *
 * @throws {ScriptError} `STATEMENT_REFUSED` (exit 2) or `MIGRATION_FAILED` (exit 1) with `file:line:column`; `PLACEHOLDER`
 * (exit 2)
 */
export async function prepareFile(file: SchemaFile, placeholders: Placeholders): Promise<PreparedFile> {
  const expanded = expandPlaceholders(file, placeholders);
  const statements = await parseStatements(expanded.text).catch((error: unknown) => {
    throw error instanceof SyntaxFailure ? syntaxRefused(file, expanded, error) : error;
  });
  const isTransactional = !isRunWithoutTransaction(expanded.text, statements);
  const prepared = { file, expanded, statements, isTransactional };
  if (!isTransactional && (file.source === "cqrs" || file.kind !== "migration")) {
    throw statementRefused(prepared, 0, "Only a migration of a project can be run without a transaction.");
  }
  for (const statement of statements) {
    const why = findObjection(statement, isTransactional);
    if (why !== undefined) throw statementRefused(prepared, statement.start, why);
  }
  return prepared;
}

function findObjection(statement: ParsedStatement, isTransactional: boolean): string | undefined {
  const copy = "CopyStmt" in statement.node ? statement.node.CopyStmt : undefined;
  if (endsTransaction(statement)) {
    return isTransactional
      ? "A file is applied in the same transaction as its row in the ledger; transaction control would separate the two."
      : "Each statement of this file is run and noted by itself; transaction control would separate the two.";
  }
  if (copy?.is_from === true && copy.filename === undefined && !copy.is_program) {
    return "COPY … FROM STDIN has no input here; the session would hang. Use INSERT, or a seed.";
  }
  if (isTransactional && cannotRunInTransaction(statement)) {
    return "PostgreSQL does not run this in a transaction. Put it in a file of its own that begins with -- no-transaction.";
  }
  return isUnnamedIndex(statement) && !isTransactional
    ? "An index that is created concurrently needs a name, by which an interrupted run finds it again."
    : undefined;
}

function isUnnamedIndex(statement: ParsedStatement): boolean {
  if (kindOf(statement) !== "IndexStmt") return false;
  const { concurrent, idxname } = (statement.node as { readonly IndexStmt: IndexStmt }).IndexStmt;
  return concurrent === true && idxname === undefined;
}

function statementRefused({ file, expanded }: PreparedFile, offset: number, why: string): ScriptError {
  return new ScriptError({
    code: "STATEMENT_REFUSED",
    exitCode: exitCodes.usage,
    message: `${file.path}:${expanded.locate(offset)}: a schema file cannot contain this statement`,
    why,
    fix: "Change the file. Nothing was applied.",
  });
}

function syntaxRefused(file: SchemaFile, expanded: ExpandedSql, { message, offset }: SyntaxFailure): ScriptError {
  return new ScriptError({
    code: "MIGRATION_FAILED",
    exitCode: exitCodes.bug,
    message: `${file.path}:${expanded.locate(offset)}: ${message}`,
    why: "PostgreSQL's parser does not accept the file. Commands of psql, such as \\c, are not SQL.",
    fix: `Fix the file, then run ${runLine("schema apply")} again. Nothing was applied.`,
  });
}
