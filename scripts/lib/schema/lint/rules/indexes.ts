import { type Rule, type Subject, when } from "../rule.ts";
import { nameParts, optionsOf, treeOf } from "../tree.ts";

/** Rules about indexes of tables that exist. */
export const indexRules: readonly Rule[] = [
  {
    id: "index-not-concurrent",
    group: "locks",
    why: "CREATE INDEX blocks all writes to the table until the index is built.",
    better: "In a file of its own that begins with -- no-transaction: create index concurrently <name> on …",
    check(subject) {
      const index = treeOf(subject.node, "IndexStmt");
      if (index?.relation === undefined || index.concurrent) return [];
      const table = subject.catalog.tableKey(index.relation, subject.searchPath);
      return when(!subject.catalog.isNew(table, subject.file), `index on the existing table ${table}`);
    },
  },
  {
    id: "unnamed-concurrent-index",
    group: "transactions",
    why: "If the build fails, an INVALID index stays. Without a name, a retry cannot find it, and creates another one.",
    better: "create index concurrently <name> on …",
    check: ({ node }) => {
      const index = treeOf(node, "IndexStmt");
      return when(index?.concurrent && index.idxname === undefined, "concurrent index without a name");
    },
  },
  {
    id: "drop-index-not-concurrent",
    group: "locks",
    why: "DROP INDEX waits for all transactions that use the table, and blocks those that begin meanwhile.",
    better: "In a file of its own that begins with -- no-transaction: drop index concurrently <name>",
    check(subject) {
      const drop = treeOf(subject.node, "DropStmt");
      return when(
        drop?.removeType === "OBJECT_INDEX" && !drop.concurrent && !dropsOnlyNew(subject),
        "index dropped while writers wait",
      );
    },
  },
  {
    id: "reindex-not-concurrent",
    group: "locks",
    why: "REINDEX blocks writes to the table, and reads that would use the index.",
    better: "In a file that begins with -- no-transaction: reindex (concurrently) …",
    check({ node }) {
      const reindex = treeOf(node, "ReindexStmt");
      const isOnline = optionsOf(reindex?.params).get("concurrently");
      return when(
        reindex !== undefined && (isOnline === undefined || isOnline === "false"),
        "index rebuilt under a lock",
      );
    },
  },
];

function dropsOnlyNew({ node, catalog, file, searchPath }: Subject): boolean {
  const objects = treeOf(node, "DropStmt")?.objects ?? [];
  return objects.every((object) => catalog.isNew(catalog.key(nameParts(object), searchPath), file));
}
