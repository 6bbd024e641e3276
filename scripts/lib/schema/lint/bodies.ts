import type { CreateFunctionStmt, Node } from "libpg-query";
import { type ParsedStatement, parseStatements } from "../statements.ts";
import type { Place, Subject } from "./rule.ts";
import { constantText, nameParts, treeOf, treesOf } from "./tree.ts";

/** A statement within another one. */
type Inner = Pick<Subject, "node" | "place" | "searchPath"> & Pick<ParsedStatement, "text">;

/** Modes in which PL/pgSQL parses an expression of a function. */
const parseModes = { statement: 0, expression: 2 } as const;

/**
 * Finds the statements within a statement: of functions and DO blocks in SQL and PL/pgSQL, of CREATE RULE and CREATE
 * SCHEMA, and constant texts that PL/pgSQL executes. Other dynamic SQL cannot be seen, nor can a body that PostgreSQL's
 * parser refuses.
 */
export async function innerStatements(text: string, outer: Subject): Promise<Subject[]> {
  const { node } = outer;
  const bodies = await Promise.all([sqlBody(node, outer), proceduralBody(text, node, outer)]);
  const subjects = [...listedStatements(node, outer), ...bodies.flat()].map(({ text: inner, ...found }) => {
    return { text: inner, subject: { ...outer, ...found } };
  });
  const deeper = await Promise.all(subjects.map(({ text: inner, subject }) => innerStatements(inner, subject)));
  return subjects.flatMap(({ subject }, index) => [subject, ...(deeper[index] ?? [])]);
}

function listedStatements(node: Node, { place, searchPath }: Subject): Inner[] {
  const schema = treeOf(node, "CreateSchemaStmt");
  const elements = schema?.schemaElts ?? [];
  const actions = treeOf(node, "RuleStmt")?.actions ?? [];
  const atomic = flatten(treeOf(node, "CreateFunctionStmt")?.sql_body);
  return [
    ...elements.map((inner) => ({
      text: "",
      node: inner,
      place,
      searchPath: [schema?.schemaname ?? "", ...searchPath],
    })),
    ...[...actions, ...atomic].map((inner) => ({ text: "", node: inner, place: "body" as const, searchPath })),
  ];
}

/** BEGIN ATOMIC is a list of lists of statements. */
function flatten(node: Node | undefined): Node[] {
  const list = treeOf(node, "List");
  if (list !== undefined) return (list.items ?? []).flatMap(flatten);
  return node === undefined || "ReturnStmt" in node ? [] : [node];
}

async function sqlBody(node: Node, outer: Subject): Promise<Inner[]> {
  const create = treeOf(node, "CreateFunctionStmt");
  if (create === undefined || languageOf(create.options) !== "sql") return [];
  const path = pathOf(create) ?? outer.searchPath;
  return parseInner(nameParts(optionOf(create.options, "as"))[0] ?? "", "body", path);
}

async function proceduralBody(text: string, node: Node, outer: Subject): Promise<Inner[]> {
  const create = treeOf(node, "CreateFunctionStmt");
  const block = treeOf(node, "DoStmt");
  const isProcedural = languageOf(create?.options ?? block?.args, block && "plpgsql") === "plpgsql";
  if (!isProcedural || (create?.sql_body ?? undefined) !== undefined) return [];
  const place = block === undefined ? "body" : outer.place === "file" ? "block" : outer.place;
  const path = (create && pathOf(create)) ?? outer.searchPath;
  const { parsePlPgSQL } = await import("libpg-query");
  const tree = await parsePlPgSQL(text).catch(() => undefined);
  const found = await Promise.all(proceduralTexts(tree).map((inner) => parseInner(inner, place, path)));
  return found.flat();
}

/** @returns the SQL of the statements of a PL/pgSQL function, COMMIT and ROLLBACK included */
function proceduralTexts(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (key === "PLpgSQL_stmt_commit") return ["commit"];
    if (key === "PLpgSQL_stmt_rollback") return ["rollback"];
    if (key !== "PLpgSQL_expr") return proceduralTexts(inner);
    const { query, parseMode = parseModes.statement } = inner as { query: string; parseMode?: number };
    if (parseMode === parseModes.statement) return [query];
    return parseMode === parseModes.expression ? [`select ${query}`] : [];
  });
}

async function parseInner(text: string, place: Place, searchPath: readonly string[]): Promise<Inner[]> {
  const statements = await parseStatements(text).catch(() => []);
  const executed = await Promise.all(statements.map(({ node }) => executedText(node)));
  return [...statements, ...executed.flat()].map((found) => ({
    text: found.text,
    node: found.node,
    place,
    searchPath,
  }));
}

/** EXECUTE 'drop table a' is parsed as `select 'drop table a'`. A constant that is no SQL is none of our concern. */
async function executedText(node: Node): Promise<ParsedStatement[]> {
  const [only, ...others] = treesOf(treeOf(node, "SelectStmt")?.targetList, "ResTarget");
  const text = others.length === 0 ? constantText(only?.val) : undefined;
  if (text === undefined || !text.includes(" ")) return [];
  return parseStatements(text).catch(() => []);
}

/** @returns the search path that a function sets; undefined if it uses that of its caller */
export function pathOf({ options }: CreateFunctionStmt): string[] | undefined {
  const settings = treesOf(options, "DefElem").filter(({ defname }) => defname === "set");
  const paths = settings.map(({ arg }) => treeOf(arg, "VariableSetStmt")).filter((set) => set?.name === "search_path");
  return paths[0]?.args?.flatMap((schema) => constantText(schema) ?? []) ?? (paths[0] && []);
}

function languageOf(options: readonly Node[] | undefined, byDefault = "sql"): string {
  return nameParts(optionOf(options, "language"))[0]?.toLowerCase() ?? byDefault;
}

function optionOf(options: readonly Node[] | undefined, name: string): Node | undefined {
  return treesOf(options, "DefElem").find(({ defname }) => defname === name)?.arg;
}
