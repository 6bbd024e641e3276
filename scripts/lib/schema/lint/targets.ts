import type { Node, RangeVar } from "libpg-query";
import { type Kind, nameParts, treeOf, treesOf } from "./tree.ts";

/** An object that a statement creates, changes or drops. */
export interface QualifiedTarget {
  readonly action: "create" | "change" | "drop";
  /** Its name, with or without a schema; of a routine with `()`. */
  readonly parts: readonly string[];
  readonly isSchema?: boolean;
  readonly isTemporary?: boolean;
}

type Names = readonly (readonly string[])[];
type Tree = Readonly<Record<string, unknown>>;

/** Objects within a table: the last part of their name is their own. */
const partsOfTables: readonly unknown[] = [
  "OBJECT_COLUMN",
  "OBJECT_TRIGGER",
  "OBJECT_RULE",
  "OBJECT_POLICY",
  "OBJECT_TABCONSTRAINT",
  "OBJECT_ATTRIBUTE",
];

const routines: readonly unknown[] = ["OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE"];

/** Kinds of objects without a schema, none of which the product protects. */
const withoutSchema: readonly unknown[] = [
  "OBJECT_DATABASE",
  "OBJECT_EXTENSION",
  "OBJECT_ROLE",
  "OBJECT_TABLESPACE",
  "OBJECT_PUBLICATION",
  "OBJECT_SUBSCRIPTION",
  "OBJECT_EVENT_TRIGGER",
  "OBJECT_LANGUAGE",
  "OBJECT_CAST",
  "OBJECT_FOREIGN_SERVER",
  "OBJECT_FDW",
  "OBJECT_LARGEOBJECT",
];

/** What a statement of a kind creates. */
const created: Partial<Record<Kind, (tree: Tree) => Names>> = {
  CompositeTypeStmt: ({ typevar }) => [relation(typevar)],
  CreateDomainStmt: ({ domainname }) => [list(domainname)],
  CreateEnumStmt: ({ typeName }) => [list(typeName)],
  CreateForeignTableStmt: ({ base }) => [relation((base as Tree)["relation"])],
  CreateFunctionStmt: ({ funcname }) => [routine(list(funcname))],
  CreateRangeStmt: ({ typeName }) => [list(typeName)],
  CreateSeqStmt: ({ sequence }) => [relation(sequence)],
  CreateStatsStmt: ({ defnames }) => [list(defnames)],
  CreateStmt: ({ relation: table }) => [relation(table)],
  CreateTableAsStmt: ({ into }) => [relation((into as Tree)["rel"])],
  DefineStmt: ({ defnames, kind }) => [routines.includes(kind) ? routine(list(defnames)) : list(defnames)],
  IndexStmt: ({ idxname, relation: table }) => [inSchemaOf(table, idxname)],
  SelectStmt: ({ intoClause }) => (intoClause === undefined ? [] : [relation((intoClause as Tree)["rel"])]),
  ViewStmt: ({ view }) => [relation(view)],
};

/** What a statement of a kind changes. */
const changed: Partial<Record<Kind, (tree: Tree) => Names>> = {
  AlterDomainStmt: ({ typeName }) => [list(typeName)],
  AlterEnumStmt: ({ typeName }) => [list(typeName)],
  AlterFunctionStmt: ({ func }) => [routine(list((func as Tree)["objname"]))],
  AlterPolicyStmt: ({ table }) => [relation(table)],
  AlterSeqStmt: ({ sequence }) => [relation(sequence)],
  AlterStatsStmt: ({ defnames }) => [list(defnames)],
  AlterTableStmt: ({ relation: table }) => [relation(table)],
  AlterTypeStmt: ({ typeName }) => [list(typeName)],
  ClusterStmt: ({ relation: table }) => [relation(table)],
  CreatePolicyStmt: ({ table }) => [relation(table)],
  CreateStatsStmt: ({ relations }) => relations_(relations),
  CreateStmt: ({ inhRelations }) => relations_(inhRelations),
  CreateTrigStmt: ({ relation: table }) => [relation(table)],
  IndexStmt: ({ relation: table }) => [relation(table)],
  LockStmt: ({ relations }) => relations_(relations),
  RefreshMatViewStmt: ({ relation: view }) => [relation(view)],
  ReindexStmt: ({ relation: table }) => [relation(table)],
  RuleStmt: ({ relation: table }) => [relation(table)],
};

/** @returns what a statement creates, changes and drops, except rows */
export function targetsOf(node: Node): QualifiedTarget[] {
  const [[kind, tree] = [undefined, {}]] = Object.entries(node as object as Partial<Record<Kind, Tree>>);
  const of = (table: typeof created) => (table[kind as Kind]?.(tree ?? {}) ?? []).filter((parts) => parts.length > 0);
  const isTemporary = JSON.stringify(tree).includes('"relpersistence":"t"');
  return [
    ...of(created).map((parts) => ({ action: "create" as const, parts, isTemporary })),
    ...of(changed).map((parts) => ({ action: "change" as const, parts })),
    ...dropped(node),
    ...namedObject(node),
    ...schemas(node),
  ];
}

function dropped(node: Node): QualifiedTarget[] {
  const drop = treeOf(node, "DropStmt");
  return (drop?.objects ?? []).flatMap((object) => objectTarget(object, drop?.removeType, "drop"));
}

/** The object of ALTER … RENAME, SET SCHEMA, OWNER TO and DEPENDS ON, of COMMENT and of SECURITY LABEL. */
function namedObject(node: Node): QualifiedTarget[] {
  const renamed = treeOf(node, "RenameStmt") ?? treeOf(node, "AlterObjectSchemaStmt");
  const named = renamed ?? treeOf(node, "AlterOwnerStmt") ?? treeOf(node, "AlterObjectDependsStmt");
  const commented = treeOf(node, "CommentStmt") ?? treeOf(node, "SecLabelStmt");
  const { relation: table, renameType, objectType, object } = (named ?? {}) as Tree;
  if (table !== undefined) return [{ action: "change", parts: relation(table) }];
  const type = renameType ?? objectType ?? commented?.objtype;
  return objectTarget((object ?? commented?.object) as Node | undefined, type, "change");
}

function objectTarget(object: Node | undefined, type: unknown, action: "change" | "drop"): QualifiedTarget[] {
  if (object === undefined || withoutSchema.includes(type)) return [];
  const parts = nameParts(object);
  if (type === "OBJECT_SCHEMA") return [{ action, parts, isSchema: true }];
  if (partsOfTables.includes(type)) return [{ action: "change", parts: parts.slice(0, -1) }];
  if (type === "OBJECT_DOMCONSTRAINT") return [{ action: "change", parts: parts.slice(0, 2) }];
  return [{ action, parts: routines.includes(type) ? routine(parts) : parts }];
}

/** Schemas that a statement moves an object to, or that it renames. */
function schemas(node: Node): QualifiedTarget[] {
  const renamed = treeOf(node, "RenameStmt");
  const moved = treeOf(node, "AlterObjectSchemaStmt")?.newschema;
  const name = renamed?.renameType === "OBJECT_SCHEMA" ? renamed.subname : undefined;
  const target = (schema: string) => ({ action: "change" as const, parts: [schema], isSchema: true });
  return [
    moved === undefined ? [] : [{ action: "change" as const, parts: [moved, "*"] }],
    name ? [target(name)] : [],
  ].flat();
}

function relation(value: unknown): string[] {
  const { schemaname, relname } = (value ?? {}) as RangeVar;
  if (relname === undefined) return [];
  return schemaname === undefined ? [relname] : [schemaname, relname];
}

function relations_(nodes: unknown): Names {
  return treesOf(nodes as Node[] | undefined, "RangeVar").map(relation);
}

function inSchemaOf(table: unknown, name: unknown): string[] {
  return name === undefined ? [] : [...relation(table).slice(0, -1), String(name)];
}

function list(nodes: unknown): string[] {
  return ((nodes ?? []) as Node[]).flatMap(nameParts);
}

function routine(parts: readonly string[]): string[] {
  return parts.map((part, index) => (index === parts.length - 1 ? `${part}()` : part));
}
