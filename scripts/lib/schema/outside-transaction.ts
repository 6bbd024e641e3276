import type { AlterSubscriptionStmt, DefElem, Node } from "libpg-query";
import type { ParsedStatement } from "./statements.ts";

/** What a check reads: the fields of any statement's tree. */
type Tree = Readonly<Record<string, unknown>>;

/** Kinds of statements that PostgreSQL 16 to 18 refuse in a transaction block (25001), and under which condition. */
const refused: Readonly<Record<string, (tree: Tree) => boolean>> = {
  AlterDatabaseStmt: ({ options }) => optionOf(options, "tablespace") !== undefined,
  AlterSubscriptionStmt: (tree) => isAlterOfSlot(tree as AlterSubscriptionStmt),
  AlterSystemStmt: () => true,
  AlterTableStmt: ({ cmds }) => JSON.stringify(cmds ?? []).includes('"concurrent":true'),
  ClusterStmt: ({ relation }) => relation === undefined,
  CreateSubscriptionStmt: ({ options }) => isOn(options, "create_slot", isOn(options, "connect", true)),
  CreateTableSpaceStmt: () => true,
  CreatedbStmt: () => true,
  DiscardStmt: ({ target = "DISCARD_ALL" }) => target === "DISCARD_ALL",
  DropStmt: ({ concurrent }) => concurrent === true,
  DropSubscriptionStmt: () => true,
  DropTableSpaceStmt: () => true,
  DropdbStmt: () => true,
  IndexStmt: ({ concurrent }) => concurrent === true,
  ReindexStmt: ({ kind, params }) => !singleObjects.includes(kind) || isOn(params, "concurrently", false),
  TransactionStmt: ({ kind }) => kind === "TRANS_STMT_COMMIT_PREPARED" || kind === "TRANS_STMT_ROLLBACK_PREPARED",
  VacuumStmt: ({ is_vacuumcmd }) => is_vacuumcmd === true,
};

const singleObjects: readonly unknown[] = ["REINDEX_OBJECT_INDEX", "REINDEX_OBJECT_TABLE"];

const withinTransaction: readonly unknown[] = ["TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO"];

/**
 * Whether PostgreSQL 16 to 18 refuse a statement in a transaction block. The tree does not show everything: CLUSTER and
 * REINDEX of a partitioned table are refused too, as is a CALL or DO that commits; DROP SUBSCRIPTION is permitted if
 * the subscription has no slot.
 */
export function cannotRunInTransaction({ node }: Pick<ParsedStatement, "node">): boolean {
  const [[kind, tree] = ["", {}]] = Object.entries(node as object as Record<string, Tree>);
  return refused[kind]?.(tree) === true;
}

/** Whether a statement begins or ends a transaction. Savepoints do neither. */
export function endsTransaction({ node }: Pick<ParsedStatement, "node">): boolean {
  if (!("TransactionStmt" in node)) return false;
  return !withinTransaction.includes(node.TransactionStmt.kind);
}

/** Publications are refreshed by default. Since PostgreSQL 17 and 18, two options change the slot. */
function isAlterOfSlot({ kind, options }: AlterSubscriptionStmt): boolean {
  if (kind === "ALTER_SUBSCRIPTION_REFRESH") return true;
  if (kind === "ALTER_SUBSCRIPTION_OPTIONS") {
    return optionOf(options, "failover") !== undefined || !isOn(options, "two_phase", true);
  }
  return String(kind).endsWith("_PUBLICATION") && isOn(options, "refresh", true);
}

function optionOf(options: unknown, name: string): DefElem | undefined {
  const elements = ((options ?? []) as Node[]).flatMap((node) => ("DefElem" in node ? [node.DefElem] : []));
  return elements.findLast(({ defname }) => defname === name);
}

/** Reads an option as PostgreSQL does: without a value it is on. */
function isOn(options: unknown, name: string, byDefault: boolean): boolean {
  const option = optionOf(options, name);
  if (option === undefined) return byDefault;
  if (option.arg === undefined) return true;
  const [value] = Object.values(option.arg as Record<string, { sval?: string; ival?: number; boolval?: boolean }>);
  if (value?.sval !== undefined) return !/^(false|off)$/i.test(value.sval);
  return value?.boolval ?? (value?.ival ?? 0) !== 0;
}
