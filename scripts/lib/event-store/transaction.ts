import type { Sql, Transaction } from "../postgres/driver.ts";
import { inTransaction, transactionState } from "../postgres/transaction.ts";
import type { CallerTransaction } from "./event.ts";

export type { Sql, Transaction } from "../postgres/driver.ts";

/** The state of each transaction that has appended; its savepoints share it. */
const appended = new WeakSet<object>();

/** Notes that a transaction appends. */
export function noteAppend(transaction: CallerTransaction): void {
  if (isTransaction(transaction)) appended.add(transactionState(transaction));
}

/** Whether it comes from `begin()` or `savepoint()`, rather than from `reserve()`. */
export function isTransaction(transaction: CallerTransaction): transaction is Sql & Transaction {
  return typeof (transaction as Partial<Transaction>).savepoint === "function";
}

/**
 * Runs a caller's work in a READ COMMITTED transaction, whatever the default of the server.
 *
 * @param onAppended called after the commit if the work has appended
 */
export async function runTransaction<Result>(
  sql: Sql,
  work: (tx: Transaction) => Promise<Result>,
  onAppended: () => void,
): Promise<Result> {
  let hasAppended = false;
  const run = async (tx: Sql) => {
    const made = await work(tx as Sql & Transaction);
    hasAppended = appended.has(transactionState(tx));
    return made;
  };
  const result = await inTransaction(sql, run, "isolation level read committed");
  if (hasAppended) onAppended();
  return result;
}
