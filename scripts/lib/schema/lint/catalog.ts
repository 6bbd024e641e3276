import type { AlterTableCmd, ColumnDef, Constraint, Node, RangeVar } from "libpg-query";
import type { SchemaSource } from "../source.ts";
import { type QualifiedTarget, targetsOf } from "./targets.ts";
import { findAll, nameParts, treeOf, treesOf } from "./tree.ts";

/** A table, or another object that a file has created. */
interface KnownObject {
  /** Whose files created it. */
  readonly origin: SchemaSource;
  /** Path of the file. */
  readonly file: string;
  /** The types of its columns, as {@link typeText} writes them. */
  readonly columns: Map<string, string>;
  readonly checks: Map<string, Check>;
}

interface Check {
  readonly file: string;
  readonly isValid: boolean;
  /** The column that it keeps from being null. */
  readonly column: string | undefined;
}

/** The runner creates it; no file does. */
const ledger = "public.schema_migration";

/** A statement that is recorded. */
interface Recorded {
  readonly node: Node;
  /** Path of the file. */
  readonly file: string;
  readonly searchPath: readonly string[];
}

/** The search path of the files of a project, and of the application. */
export const searchPath: readonly string[] = ["command_model", "read_model", "event_store", "public"];

/**
 * The objects that the files so far have created. There is no database, so a table that none of them creates is taken
 * for one that exists and has rows.
 */
export class Catalog {
  readonly #objects = new Map<string, KnownObject>();

  copy(): Catalog {
    const copied = new Catalog();
    for (const [key, object] of this.#objects) {
      const [columns, checks] = [new Map(object.columns), new Map(object.checks)];
      copied.#objects.set(key, { ...object, columns, checks });
    }
    return copied;
  }

  /** @returns `schema.name` of a table that a statement names */
  tableKey({ schemaname, relname = "" }: RangeVar, path: readonly string[]): string {
    return this.key(schemaname === undefined ? [relname] : [schemaname, relname], path);
  }

  /** @returns `schema.name` of an object that exists; a name without a schema is looked up as PostgreSQL does */
  key(parts: readonly string[], path: readonly string[]): string {
    const [schema, name] = parts.length > 1 ? parts.slice(-2) : [undefined, parts[0] ?? ""];
    if (schema !== undefined) return `${schema}.${name}`;
    const found = ["pg_temp", ...path].find((candidate) => this.#objects.has(`${candidate}.${name}`));
    return `${found ?? path[0] ?? "public"}.${name}`;
  }

  /** Whether the product owns an object: it is in `event_store`, or the product's files create it. */
  isProtected(key: string): boolean {
    return key.startsWith("event_store.") || key === ledger || this.#objects.get(key)?.origin === "cqrs";
  }

  /** Whether a file itself has created a table, so that nobody waits for its locks and it has few rows. */
  isNew(key: string, file: string): boolean {
    return key.startsWith("pg_temp.") || this.#objects.get(key)?.file === file;
  }

  /** @returns the type of a column; undefined if no file says it */
  columnType(key: string, column: string): string | undefined {
    return this.#objects.get(key)?.columns.get(column);
  }

  /** Whether a valid constraint proves that a column is not null. */
  isProvenNotNull(key: string, column: string): boolean {
    const checks = this.#objects.get(key)?.checks.values() ?? [];
    return [...checks].some((check) => check.isValid && check.column === column);
  }

  /** Whether a table has a valid CHECK: without a database, it is taken for the one that a partition needs. */
  hasValidCheck(key: string): boolean {
    return [...(this.#objects.get(key)?.checks.values() ?? [])].some(({ isValid }) => isValid);
  }

  /** Whether a file itself has added a constraint as NOT VALID. */
  isCheckOf(key: string, name: string, file: string): boolean {
    const check = this.#objects.get(key)?.checks.get(name);
    return check?.file === file && !check.isValid;
  }

  /** Adds what a statement creates, and removes what it drops. */
  record(subject: Recorded, origin: SchemaSource): void {
    for (const target of targetsOf(subject.node)) this.#recordTarget(target, subject, origin);
    const rename = treeOf(subject.node, "RenameStmt");
    if (rename?.relation !== undefined && rename.renameType === "OBJECT_TABLE") {
      this.#rename(this.tableKey(rename.relation, subject.searchPath), rename.newname ?? "");
    }
    const alter = treeOf(subject.node, "AlterTableStmt");
    if (alter?.relation === undefined) return;
    const table = this.#object(this.tableKey(alter.relation, subject.searchPath));
    for (const command of treesOf(alter.cmds, "AlterTableCmd")) recordCommand(table, command, subject.file);
  }

  /** A new table that takes the name of another one stays new. */
  #rename(key: string, name: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    this.#objects.set(`${key.split(".")[0]}.${name}`, object);
  }

  #recordTarget({ action, parts, isTemporary }: QualifiedTarget, subject: Recorded, origin: SchemaSource): void {
    if (action === "create") {
      const [schema, name] = parts.length > 1 ? parts.slice(-2) : [subject.searchPath[0] ?? "public", parts[0]];
      const key = `${isTemporary ? "pg_temp" : schema}.${name}`;
      if (this.#objects.has(key)) return;
      this.#objects.set(key, { origin, file: subject.file, columns: columnsOf(subject.node), checks: new Map() });
    }
    if (action === "drop") this.#objects.delete(this.key(parts, subject.searchPath));
  }

  /** A table that exists, but that no file has created, is recorded with what is learned about it. */
  #object(key: string): KnownObject {
    const known = this.#objects.get(key) ?? { origin: "app", file: "", columns: new Map(), checks: new Map() };
    this.#objects.set(key, known);
    return known;
  }
}

/** Applies a command of ALTER TABLE. */
function recordCommand({ columns, checks }: KnownObject, command: AlterTableCmd, file: string): void {
  const { subtype, name = "", def } = command;
  const column = treeOf(def, "ColumnDef");
  if (subtype === "AT_AddColumn" && column !== undefined) columns.set(column.colname ?? "", typeText(column));
  if (subtype === "AT_AlterColumnType" && column !== undefined) columns.set(name, typeText(column));
  const constraint = treeOf(def, "Constraint");
  if (subtype === "AT_AddConstraint" && constraint !== undefined) {
    const isValid = constraint.skip_validation !== true;
    checks.set(constraint.conname ?? "", { file, isValid, column: notNullColumn(constraint) });
  }
  const check = checks.get(name);
  if (subtype === "AT_ValidateConstraint") checks.set(name, { file, column: check?.column, isValid: true });
  if (subtype === "AT_DropConstraint") checks.delete(name);
}

/** @returns the column of `check (column is not null)`, or of a NOT NULL constraint */
function notNullColumn({ contype, raw_expr: expression, keys }: Constraint): string | undefined {
  if (contype === "CONSTR_NOTNULL") return nameParts(keys?.[0])[0];
  const test = treeOf(expression, "NullTest");
  if (contype !== "CONSTR_CHECK" || test?.nulltesttype !== "IS_NOT_NULL") return undefined;
  return nameParts(treeOf(test.arg, "ColumnRef")?.fields?.at(-1))[0];
}

function columnsOf(node: Node): Map<string, string> {
  const columns = findAll(treeOf(node, "CreateStmt")?.tableElts, "ColumnDef");
  return new Map(columns.map((column) => [column.colname ?? "", typeText(column)]));
}

/** @returns a type as text: `varchar(20)` */
export function typeText({ typeName }: ColumnDef): string {
  const name = nameParts(typeName?.names?.at(-1))[0] ?? "";
  const modifiers = treesOf(typeName?.typmods, "A_Const").map(({ ival }) => ival?.ival ?? 0);
  const array = typeName?.arrayBounds === undefined ? "" : "[]";
  return name + (modifiers.length > 0 ? `(${modifiers.join(",")})` : "") + array;
}
