import type { Node } from "libpg-query";
import { cannotRunInTransaction, endsTransaction } from "../../outside-transaction.ts";
import { type Rule, when } from "../rule.ts";
import { settingChanges } from "../settings.ts";
import { treeOf, treesOf } from "../tree.ts";

/** Settings that other rules are about. */
const otherSettings: readonly string[] = ["lock_timeout", "all", "role", "session_authorization"];

const maximumLockTimeoutMs = 60_000;

/** Rules about the transaction of a file. */
export const transactionRules: readonly Rule[] = [
  {
    id: "transaction-control",
    group: "transactions",
    why: "A file is applied in the same transaction as its row in the ledger; this would separate the two.",
    better: "Remove it. Statements that need transactions of their own go into files of their own.",
    check: ({ node, place, isOutsideTransaction }) =>
      when(isControl(node) && !(place === "block" && isOutsideTransaction), "the transaction is begun or ended"),
  },
  {
    id: "needs-no-transaction",
    group: "transactions",
    why: "PostgreSQL refuses it in a transaction, and each file runs in one.",
    better: "Move it to a file of its own that begins with -- no-transaction",
    check: ({ node, isOutsideTransaction }) =>
      when(!isOutsideTransaction && !isControl(node) && cannotRun(node), "statement cannot run in a transaction"),
  },
  {
    id: "lock-timeout",
    group: "transactions",
    why: "The runner limits how long a file waits for a lock: while it waits, all later statements queue behind it.",
    better: "Leave lock_timeout alone; the runner sets it and tries again.",
    check: ({ node }) =>
      settingChanges(node)
        .filter(({ name, values, isReset }) => {
          if (name === "all") return true;
          return name === "lock_timeout" && (isReset || isLong(values?.[0]));
        })
        .map(({ values }) => (values === undefined ? "lock_timeout is reset" : `lock_timeout becomes ${values[0]}`)),
  },
  {
    id: "set-without-local",
    group: "transactions",
    why: "SET lasts until the session ends: with psql or another tool, for the files after this one too.",
    better: "set local … ends with the file's transaction",
    check: ({ node, isOutsideTransaction }) =>
      settingChanges(node)
        .filter(({ name, isReset, isLocal }) => !isReset && !isLocal && !otherSettings.includes(name))
        .filter(({ name }) => !isOutsideTransaction && !name.startsWith("transaction"))
        .map(({ name }) => `${name} is set for the session`),
  },
  {
    id: "set-local-no-transaction",
    group: "transactions",
    why: "SET LOCAL has no effect outside a transaction.",
    better: "set … (the runner resets it after the file)",
    check: ({ node, place, isOutsideTransaction }) =>
      settingChanges(node)
        .filter(({ isLocal }) => isLocal && isOutsideTransaction && place === "file")
        .map(({ name }) => `${name} is set for one statement`),
  },
];

function isControl(node: Node): boolean {
  return endsTransaction({ node });
}

function cannotRun(node: Node): boolean {
  return cannotRunInTransaction({ node });
}

/** @param value as in `set lock_timeout = '5s'`; without a unit in milliseconds */
function isLong(value: string | undefined): boolean {
  const [, digits, unit = "ms"] = /^\s*([\d.]+)\s*(us|ms|s|min|h|d)?\s*$/.exec(value ?? "") ?? [];
  if (digits === undefined) return false;
  const milliseconds = Number(digits) * ({ us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000 }[unit] ?? 86_400_000);
  return milliseconds === 0 || milliseconds > maximumLockTimeoutMs;
}

/** Whether a statement is a reason to run a file outside a transaction. */
export function wantsNoTransaction(node: Node): boolean {
  const isBatch = ["DoStmt", "CallStmt", "UpdateStmt", "DeleteStmt", "InsertStmt"].some((kind) => kind in node);
  const commands = treesOf(treeOf(node, "AlterTableStmt")?.cmds, "AlterTableCmd");
  const isValidation = commands.some(({ subtype }) => subtype === "AT_ValidateConstraint");
  return cannotRun(node) || isBatch || isValidation || "AlterEnumStmt" in node;
}
