import type { DeleteStmt, RangeVar, UpdateStmt } from "libpg-query";
import { type Rule, type Subject, when } from "../rule.ts";
import { constantText, findAll, treeOf } from "../tree.ts";

/** Rules about the rows of tables that exist. */
export const rowRules: readonly Rule[] = [
  {
    id: "whole-table-write",
    group: "locks",
    why: "All rows stay locked until the file ends, and the table doubles in size.",
    better: "Change the rows in batches, in a file that begins with -- no-transaction; or name the rows with WHERE.",
    check: (subject) => [
      ...findAll(subject.node, "UpdateStmt")
        .filter((write) => isUnconditional(write) && !isNew(subject, write.relation))
        .map(({ relation }) => `UPDATE of all rows of ${relation?.relname}`),
      ...findAll(subject.node, "DeleteStmt")
        .filter((write) => isUnconditional(write) && !isNew(subject, write.relation))
        .map(({ relation }) => `DELETE of all rows of ${relation?.relname}`),
    ],
  },
  {
    id: "enum-value-used",
    group: "transactions",
    why: "A value that ALTER TYPE … ADD VALUE adds cannot be used before its transaction is committed.",
    better: "Use the value in the next file.",
    check({ node, addedValues, isOutsideTransaction }) {
      if (treeOf(node, "AlterEnumStmt") !== undefined || isOutsideTransaction) return [];
      const used = findAll(node, "A_Const").flatMap(({ sval }) => sval?.sval ?? []);
      return [...addedValues].filter((value) => used.includes(value)).map((value) => `the new value ${value} is used`);
    },
  },
  {
    id: "copy-from-stdin",
    group: "transactions",
    why: "COPY … FROM STDIN has no input here: only psql reads it from the file.",
    better: "insert into … values …; or load the data with a seed",
    check({ node }) {
      const copy = treeOf(node, "CopyStmt");
      return when(copy?.is_from && copy.filename === undefined && !copy.is_program, "COPY from the client");
    },
  },
];

function isUnconditional({ whereClause }: UpdateStmt | DeleteStmt): boolean {
  return whereClause === undefined || constantText(whereClause) === "true";
}

function isNew({ catalog, searchPath, file }: Subject, table: RangeVar | undefined): boolean {
  return table === undefined || catalog.isNew(catalog.tableKey(table, searchPath), file);
}
