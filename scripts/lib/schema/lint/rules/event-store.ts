import type { Node, RangeVar } from "libpg-query";
import type { Place, Rule, Subject } from "../rule.ts";
import { targetsOf } from "../targets.ts";
import { constantText, findAll, nameParts, treeOf, treesOf } from "../tree.ts";

const everywhere: readonly Place[] = ["file", "block", "body"];

/** Schemas that the product creates. */
const schemas: readonly string[] = ["event_store", "read_model", "read_model_next", "command_model", "public"];

/** Functions of event_store that change the log, and are granted to nobody. */
const changing: readonly string[] = ["redact_event", "begin_epoch", "skip_positions"];

const readOnly = "The log is append-only: nothing may change or remove what was appended, or loosen what ensures that.";

/** Rules about what the product owns: the schema event_store, and the tables of projections in read_model. */
export const eventStoreRules: readonly Rule[] = [
  {
    id: "event-store-write",
    group: "event-store",
    why: `${readOnly} Rows are written by functions of event_store only.`,
    better: "Append an event that corrects the earlier one; erase personal data with event_store.redact_event.",
    places: everywhere,
    check: (subject) => [
      ...writtenTables(subject).map((table) => `rows of ${table} are written directly`),
      ...calledFunctions(subject).map((name) => `event_store.${name} is called`),
    ],
  },
  {
    id: "event-store-change",
    group: "event-store",
    why: `${readOnly} Later versions of the product rely on its objects as they are.`,
    better: "Create your own table, view or function in command_model or read_model.",
    places: everywhere,
    check: (subject) => changedObjects(subject).map((name) => `${name} belongs to the product`),
  },
  {
    id: "object-in-public",
    group: "event-store",
    why: "Every login may look up names in public, and extensions and the ledger are there.",
    better: "Create it in command_model, or in read_model if projections fill it.",
    check: ({ node, searchPath }) =>
      targetsOf(node)
        .filter(({ action, parts, isSchema }) => action === "create" && !isSchema && !isIndex(node) && parts.length > 0)
        .filter(({ parts, isTemporary }) => !isTemporary && (parts.at(-2) ?? searchPath[0]) === "public")
        .map(({ parts }) => `${parts.at(-1)} is created in the schema public`),
  },
];

/** @returns the protected tables that INSERT, UPDATE, DELETE, MERGE, TRUNCATE and COPY write to */
function writtenTables(subject: Subject): string[] {
  const { node } = subject;
  const kinds = ["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"] as const;
  const copy = treeOf(node, "CopyStmt");
  const tables = [
    ...kinds.flatMap((kind) => findAll<typeof kind>(node, kind).map(({ relation }) => relation)),
    ...treesOf(treeOf(node, "TruncateStmt")?.relations, "RangeVar"),
    copy?.is_from ? copy.relation : undefined,
  ];
  return tables.flatMap((table) => protectedKey(subject, table));
}

function protectedKey({ catalog, searchPath }: Subject, table: RangeVar | undefined): string[] {
  if (table === undefined) return [];
  const key = catalog.tableKey(table, searchPath);
  return catalog.isProtected(key) ? [key] : [];
}

/** @returns the functions that a statement calls and that change the log; setval() of its sequence is one */
function calledFunctions({ node, catalog, searchPath }: Subject): string[] {
  return findAll(node, "FuncCall").flatMap(({ funcname = [], args = [] }) => {
    const parts = funcname.flatMap(nameParts);
    const name = parts.at(-1) ?? "";
    const sequence = constantText(args[0])?.split(".") ?? [];
    const isSequence = name === "setval" && catalog.isProtected(catalog.key(sequence, searchPath));
    if (isSequence) return ["domain_event_global_position by setval"];
    const key = catalog.key([...parts.slice(0, -1), `${name}()`], searchPath);
    return changing.includes(name) && catalog.isProtected(key) ? [name] : [];
  });
}

/** @returns the protected objects that a statement creates, changes or drops */
function changedObjects({ node, catalog, searchPath }: Subject): string[] {
  return targetsOf(node).flatMap(({ action, parts, isSchema, isTemporary }) => {
    // The table of an index says enough.
    if (action === "create" && isIndex(node)) return [];
    if (isSchema) return schemas.includes(parts[0] ?? "") ? [`schema ${parts[0]}`] : [];
    const created = parts.length > 1 ? parts : [searchPath[0] ?? "public", ...parts];
    const key = action === "create" ? created.slice(-2).join(".") : catalog.key(parts, searchPath);
    return !isTemporary && catalog.isProtected(key) ? [key] : [];
  });
}

function isIndex(node: Node): boolean {
  return "IndexStmt" in node;
}
