import type { Node } from "libpg-query";

type KindOf<N> = N extends unknown ? keyof N : never;

/** A kind of node, such as `IndexStmt`. */
export type Kind = KindOf<Node>;

/** The fields of a kind of node. */
export type TreeOf<K extends Kind> = Extract<Node, Record<K, unknown>>[K];

/** Parts of a statement that are statements of their own. */
const ownStatements: readonly string[] = ["sql_body", "actions", "schemaElts"];

/** @returns the fields of a node of a kind; undefined if it is of another kind */
export function treeOf<K extends Kind>(node: Node | undefined, kind: K): TreeOf<K> | undefined {
  return node === undefined ? undefined : ((node as Partial<Record<Kind, unknown>>)[kind] as TreeOf<K> | undefined);
}

/** @returns the fields of those nodes of a list that are of a kind */
export function treesOf<K extends Kind>(nodes: readonly Node[] | undefined, kind: K): TreeOf<K>[] {
  return (nodes ?? []).flatMap((node) => treeOf(node, kind) ?? []);
}

/** Finds all nodes of a kind in a statement, but not in the statements that it contains, such as a function's body. */
export function findAll<K extends Kind>(root: unknown, kind: K): TreeOf<K>[] {
  const found: TreeOf<K>[] = [];
  visit(root, (key, value) => {
    if (key === kind) found.push(value as TreeOf<K>);
  });
  return found;
}

function visit(value: unknown, see: (key: string, value: unknown) => void): void {
  if (typeof value !== "object" || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (ownStatements.includes(key)) continue;
    see(key, inner);
    visit(inner, see);
  }
}

/** @returns the parts of a name: of a list of strings, a type, a function or a string */
export function nameParts(node: Node | undefined): string[] {
  if (node === undefined) return [];
  const nodes = treeOf(node, "List")?.items ??
    treeOf(node, "TypeName")?.names ??
    treeOf(node, "ObjectWithArgs")?.objname ?? [node];
  return nodes.flatMap((part) => treeOf(part, "String")?.sval ?? nameParts(treeOf(part, "TypeName") && part));
}

/** @returns the text of a constant; undefined if the node is anything else */
export function constantText(node: Node | undefined): string | undefined {
  const cast = treeOf(node, "TypeCast");
  if (cast !== undefined) return constantText(cast.arg);
  const constant = treeOf(node, "A_Const");
  if (constant === undefined) return undefined;
  const number = constant.ival === undefined ? constant.fval?.fval : String(constant.ival.ival ?? 0);
  return constant.sval?.sval ?? number ?? (constant.boolval && String(constant.boolval.boolval === true));
}

/** @returns the options of a statement; one without a value is "true", and one that is off "false" */
export function optionsOf(options: readonly Node[] | undefined): Map<string, string> {
  const elements = treesOf(options, "DefElem");
  return new Map(elements.map(({ defname = "", arg }) => [defname, optionText(arg)]));
}

function optionText(value: Node | undefined): string {
  if (value === undefined) return "true";
  const { sval, ival, boolval } = (Object.values(value)[0] ?? {}) as {
    sval?: string;
    ival?: number;
    boolval?: boolean;
  };
  const text = sval?.toLowerCase() ?? String(boolval ?? (ival ?? 0) !== 0);
  return text === "off" ? "false" : text;
}
