import type { Node } from "libpg-query";
import { ScriptError } from "../../cli/script-error.ts";
import { isRunWithoutTransaction } from "../no-transaction.ts";
import { type ExpandedSql, expandPlaceholders, lineAndColumn, placeholdersFor } from "../placeholders.ts";
import type { SchemaFile, SchemaSource } from "../source.ts";
import { type ParsedStatement, parseStatements, SyntaxFailure } from "../statements.ts";
import { applySuppressions, type Violation } from "./apply-suppressions.ts";
import { innerStatements } from "./bodies.ts";
import { type Catalog, searchPath } from "./catalog.ts";
import type { Finding, Subject } from "./rule.ts";
import { wantsNoTransaction } from "./rules/transactions.ts";
import { type OwnRule, ownRules, statementRules } from "./rules.ts";
import { settingChanges } from "./settings.ts";
import { treeOf } from "./tree.ts";

/** A SQL file: its path, and its content with LF line endings. */
export type LintFile = Pick<SchemaFile, "path" | "text">;

/**
 * Checks one file, and adds what it creates to the catalog.
 *
 * @param origin the product's files may do to the event store what those of a project may not
 */
export async function lintFile(file: LintFile, catalog: Catalog, origin: SchemaSource): Promise<Finding[]> {
  const expanded = expand(file);
  if ("rule" in expanded) return [expanded];
  try {
    const statements = await parseStatements(expanded.text);
    const violations = await checkStatements(file, { text: expanded.text, statements, catalog, origin });
    const kept = await applySuppressions(violations, expanded.text, statements);
    return kept.map(({ rule, message, offset }) => findingAt(file, expanded, { rule, message, offset }));
  } catch (error) {
    if (!(error instanceof SyntaxFailure)) throw error;
    return [syntaxFinding(file, expanded, error)];
  }
}

/** Adds what a file creates to the catalog, and checks nothing. */
export async function recordFile(file: SchemaFile, catalog: Catalog): Promise<void> {
  const { text } = expandPlaceholders(file, placeholdersFor("database"));
  const known = { file: file.path, searchPath: ["public"] };
  for (const { node } of await parseStatements(text)) catalog.record({ node, ...known }, file.source);
}

interface Checked {
  readonly text: string;
  readonly statements: readonly ParsedStatement[];
  readonly catalog: Catalog;
  readonly origin: SchemaSource;
}

async function checkStatements(file: LintFile, checked: Checked): Promise<Violation[]> {
  const { text, statements, catalog, origin } = checked;
  const isOutsideTransaction = isRunWithoutTransaction(text, statements);
  const addedValues = new Set<string>();
  let path = searchPath;
  const violations = isOutsideTransaction ? needlessComment(statements) : [];
  for (const [index, { node, text }] of statements.entries()) {
    const known = { file: file.path, isOutsideTransaction, addedValues, catalog };
    const outer: Subject = { node, place: "file", searchPath: path, ...known };
    for (const subject of [outer, ...(await innerStatements(text, outer))]) {
      violations.push(...checkSubject(subject, origin).map((found) => ({ ...found, statement: index })));
      if (subject.place !== "body") catalog.record(subject, origin);
    }
    path = nextPath(node, path);
    for (const value of valuesAddedBy(node)) addedValues.add(value);
  }
  return violations;
}

function needlessComment(statements: readonly ParsedStatement[]): Violation[] {
  if (statements.length === 0 || statements.some(({ node }) => wantsNoTransaction(node))) return [];
  return [{ rule: ownRules.needless, message: "the file could run in a transaction", statement: 0 }];
}

function valuesAddedBy(node: Node): string[] {
  const { newVal, oldVal } = treeOf(node, "AlterEnumStmt") ?? {};
  return newVal === undefined || oldVal !== undefined ? [] : [newVal];
}

/** A statement that changes the event store has no other findings: PostgreSQL refuses it in any case. */
function checkSubject(subject: Subject, origin: SchemaSource): Omit<Violation, "statement">[] {
  const found = statementRules
    .filter(({ places = ["file", "block"] }) => places.includes(subject.place))
    .filter(({ group }) => origin === "app" || group !== "event-store")
    .flatMap((rule) => rule.check(subject).map((message) => ({ rule, message })));
  const aboutStore = found.filter(({ rule }) => rule.id === "event-store-write" || rule.id === "event-store-change");
  return aboutStore.length > 0 ? found.filter(({ rule }) => rule.group !== "locks") : found;
}

function nextPath(node: Node, path: readonly string[]): readonly string[] {
  const change = settingChanges(node).find(({ name }) => name === "search_path");
  if (change === undefined) return path;
  return change.values ?? searchPath;
}

function expand(file: LintFile): ExpandedSql | Finding {
  try {
    return expandPlaceholders(file, placeholdersFor("database"));
  } catch (error) {
    const match = error instanceof ScriptError ? /:(\d+):(\d+): (unknown placeholder .*)$/.exec(error.message) : null;
    if (match === null) throw error;
    const place = { line: Number(match[1]), column: Number(match[2]) };
    const { id, better } = ownRules.placeholder;
    const why = String((error as ScriptError).why);
    return { file: file.path, ...place, rule: id, message: String(match[3]), why, better };
  }
}

interface Located {
  readonly rule: OwnRule;
  readonly message: string;
  readonly offset: number;
}

function findingAt(file: LintFile, expanded: ExpandedSql, { rule, message, offset }: Located): Finding {
  const [line = 1, column = 1] = expanded.locate(offset).split(":").map(Number);
  return { file: file.path, line, column, rule: rule.id, message, why: rule.why, better: rule.better };
}

function syntaxFinding(file: LintFile, expanded: ExpandedSql, { message, offset }: SyntaxFailure): Finding {
  const line = lineAndColumn(expanded.text, offset).split(":")[0];
  const content = expanded.text.split("\n")[Number(line) - 1] ?? "";
  const isCopyData = /copy\b[^;]*\bfrom\s+stdin\b[^;]*;\s*$/i.test(expanded.text.slice(0, offset));
  const isMeta = content.trimStart().startsWith("\\");
  const rule = isMeta ? ownRules.metaCommand : isCopyData ? ownRules.copyData : ownRules.syntax;
  return findingAt(file, expanded, { rule, message, offset });
}
