import type { AlterTableType, ObjectType, RangeVar, RenameStmt } from "libpg-query";
import { type Rule, type Subject, when } from "../rule.ts";
import { nameParts, optionsOf, treeOf, treesOf } from "../tree.ts";
import { commandsOf } from "./alter-table.ts";

const rewrites: readonly AlterTableType[] = [
  "AT_SetTableSpace",
  "AT_SetLogged",
  "AT_SetUnLogged",
  "AT_SetAccessMethod",
  "AT_SetExpression",
];

const disables: readonly AlterTableType[] = [
  "AT_DisableTrig",
  "AT_DisableTrigAll",
  "AT_DisableTrigUser",
  "AT_EnableReplicaTrig",
  "AT_DisableRule",
  "AT_EnableReplicaRule",
];

/** Kinds of objects whose names programs know. */
const named: readonly (ObjectType | undefined)[] = [
  "OBJECT_TABLE",
  "OBJECT_VIEW",
  "OBJECT_MATVIEW",
  "OBJECT_FOREIGN_TABLE",
  "OBJECT_COLUMN",
  "OBJECT_ATTRIBUTE",
  "OBJECT_SCHEMA",
  "OBJECT_TYPE",
  "OBJECT_DOMAIN",
  "OBJECT_FUNCTION",
  "OBJECT_PROCEDURE",
  "OBJECT_ROUTINE",
];

const withRows: readonly (ObjectType | undefined)[] = [
  "OBJECT_TABLE",
  "OBJECT_FOREIGN_TABLE",
  "OBJECT_MATVIEW",
  "OBJECT_SCHEMA",
];

/** Rules about tables that exist. */
export const tableRules: readonly Rule[] = [
  {
    id: "rename",
    group: "locks",
    why: "Programs that run meanwhile know the old name only, and fail until all of them are replaced.",
    better: "Create the new one beside it (for a table, a view with the new name), and drop the old one later.",
    check(subject) {
      const rename = treeOf(subject.node, "RenameStmt");
      const moved = treeOf(subject.node, "AlterObjectSchemaStmt");
      const enumValue = treeOf(subject.node, "AlterEnumStmt")?.oldVal;
      const parts = nameParts(rename?.object ?? moved?.object);
      const isOld = !isNew(subject, rename?.relation ?? moved?.relation, parts);
      return [
        ...when(isOld && named.includes(rename?.renameType), `${nameOf(rename)} becomes ${rename?.newname}`),
        ...when(isOld && named.includes(moved?.objectType), `${nameOf(moved)} moves to schema ${moved?.newschema}`),
        ...when(enumValue !== undefined, `the value ${enumValue} is renamed`),
      ];
    },
  },
  {
    id: "drop-table",
    group: "locks",
    why: "Programs that still use it fail, and its rows cannot be brought back.",
    better: "First deploy programs that no longer use it. Then drop it, with this rule suppressed and the reason.",
    check(subject) {
      const drop = treeOf(subject.node, "DropStmt");
      if (!withRows.includes(drop?.removeType)) return [];
      const names = (drop?.objects ?? []).map(nameParts).filter((parts) => !isNew(subject, undefined, parts));
      return names.map((parts) => `${parts.join(".")} is dropped`);
    },
  },
  {
    id: "drop-cascade",
    group: "locks",
    why: "CASCADE drops objects that the file does not name, among them those of other people.",
    better: "Drop each object by its name, without CASCADE.",
    check({ node }) {
      const isCascade =
        treeOf(node, "DropStmt")?.behavior === "DROP_CASCADE" || treeOf(node, "DropOwnedStmt") !== undefined;
      const commands = treesOf(treeOf(node, "AlterTableStmt")?.cmds, "AlterTableCmd");
      const isDrop = ["AT_DropColumn", "AT_DropConstraint"];
      const found = commands.find(
        ({ subtype = "", behavior }) => isDrop.includes(subtype) && behavior === "DROP_CASCADE",
      );
      return when(isCascade || found !== undefined, "dependent objects are dropped as well");
    },
  },
  {
    id: "truncate",
    group: "locks",
    why: "TRUNCATE removes all rows for good, and waits for all readers while new ones queue behind it.",
    better: "Delete rows in batches, with a condition.",
    check(subject) {
      const tables = treesOf(treeOf(subject.node, "TruncateStmt")?.relations, "RangeVar");
      return tables
        .filter((table) => !isNew(subject, table))
        .map(({ relname }) => `all rows of ${relname} are removed`);
    },
  },
  {
    id: "table-rewrite",
    group: "locks",
    why: "The whole table is rewritten while reads and writes wait.",
    better: "Use an extension such as pg_repack outside of migrations, or announce downtime and suppress this rule.",
    check(subject) {
      const vacuum = treeOf(subject.node, "VacuumStmt");
      const isFull = vacuum !== undefined && optionsOf(vacuum.options).get("full") !== undefined;
      const isMoved = treeOf(subject.node, "AlterTableMoveAllStmt") !== undefined;
      const isClustered = treeOf(subject.node, "ClusterStmt") !== undefined;
      const commands = commandsOf(subject, ...rewrites);
      return [
        ...when(isFull || isClustered || isMoved, "tables are rewritten"),
        ...commands.map(({ table }) => `the existing table ${table} is rewritten`),
      ];
    },
  },
  {
    id: "refresh-not-concurrent",
    group: "locks",
    why: "Readers of the materialized view wait until it is refreshed.",
    better: "refresh materialized view concurrently … (it needs a unique index)",
    check(subject) {
      const refresh = treeOf(subject.node, "RefreshMatViewStmt");
      const isOld = refresh !== undefined && !refresh.concurrent && !isNew(subject, refresh.relation);
      return when(isOld, `${refresh?.relation?.relname} is refreshed under a lock`);
    },
  },
  {
    id: "lock-table",
    group: "locks",
    why: "The lock is held until the file ends, whatever else it waits for.",
    better: "Leave it out: each statement takes the locks that it needs.",
    check(subject) {
      const tables = treesOf(treeOf(subject.node, "LockStmt")?.relations, "RangeVar");
      return tables.filter((table) => !isNew(subject, table)).map(({ relname }) => `table ${relname} is locked`);
    },
  },
  {
    id: "partition",
    group: "locks",
    why: "It locks the partitioned table or reads the whole partition, while reads and writes wait.",
    better: "Create the partition as a table with a CHECK like its bounds, then attach it; detach it concurrently.",
    check(subject) {
      const create = treeOf(subject.node, "CreateStmt");
      const parents = create?.partbound === undefined ? [] : treesOf(create.inhRelations, "RangeVar");
      return [
        ...parents.filter((parent) => !isNew(subject, parent)).map(({ relname }) => `partition created in ${relname}`),
        ...attached(subject),
        ...commandsOf(subject, "AT_DetachPartition")
          .filter(({ command }) => !treeOf(command.def, "PartitionCmd")?.concurrent)
          .map(({ table }) => `partition of ${table} detached under a lock`),
      ];
    },
  },
  {
    id: "disable-trigger",
    group: "locks",
    why: "Meanwhile nothing enforces what the trigger or rule enforces, and DISABLE TRIGGER blocks writes.",
    better: "Let the trigger recognise the statement, for example by a setting of the transaction.",
    check: (subject) => [
      ...commandsOf(subject, ...disables).map(({ table }) => `a trigger or rule of ${table} is disabled`),
      ...when(treeOf(subject.node, "AlterEventTrigStmt")?.tgenabled === "D", "an event trigger is disabled"),
    ],
  },
];

/** A partition that the file itself has created, or that a valid CHECK describes, is attached at once. */
function attached(subject: Subject): readonly string[] {
  return commandsOf(subject, "AT_AttachPartition").flatMap(({ table, command }) => {
    const partition = treeOf(command.def, "PartitionCmd")?.name;
    if (partition === undefined || isNew(subject, partition)) return [];
    const key = subject.catalog.tableKey(partition, subject.searchPath);
    return when(!subject.catalog.hasValidCheck(key), `${partition.relname} attached to ${table} without a valid CHECK`);
  });
}

function isNew(subject: Subject, table: RangeVar | undefined, parts: readonly string[] = []): boolean {
  const { catalog, searchPath, file } = subject;
  const key = table === undefined ? catalog.key(parts, searchPath) : catalog.tableKey(table, searchPath);
  return catalog.isNew(key, file);
}

function nameOf(tree: Pick<RenameStmt, "relation" | "object" | "subname"> | undefined): string {
  const parts = tree?.relation?.relname ?? nameParts(tree?.object).join(".");
  return [parts, tree?.subname].filter(Boolean).join(".");
}
