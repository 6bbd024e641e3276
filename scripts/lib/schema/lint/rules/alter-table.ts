import type { AlterTableCmd, AlterTableType } from "libpg-query";
import type { Subject } from "../rule.ts";
import { treeOf, treesOf } from "../tree.ts";

/** A command of an ALTER TABLE of a table that the file itself has not created. */
export interface ExistingTable {
  readonly table: string;
  readonly command: AlterTableCmd;
}

/** @returns the commands of some types that a statement applies to an existing table */
export function commandsOf(subject: Subject, ...types: readonly AlterTableType[]): ExistingTable[] {
  const alter = treeOf(subject.node, "AlterTableStmt");
  if (alter?.relation === undefined) return [];
  const table = subject.catalog.tableKey(alter.relation, subject.searchPath);
  if (subject.catalog.isNew(table, subject.file)) return [];
  const commands = treesOf(alter.cmds, "AlterTableCmd");
  return commands
    .filter(({ subtype }) => types.includes(subtype as AlterTableType))
    .map((command) => ({ table, command }));
}
