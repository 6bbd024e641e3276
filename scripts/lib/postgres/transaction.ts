import type { TransactionSql } from "postgres";
import type { Sql } from "./connect.ts";
import { beginTransaction } from "./driver.ts";

/** How a transaction begins, as in `BEGIN`. */
export type TransactionMode = "read only" | "isolation level repeatable read read only";

/** What is known of a transaction while its work goes on. */
export interface TransactionState {
  /** The session has ended: nothing of this transaction is stored, and its work should stop. */
  readonly isLost: boolean;
}

/**
 * Does work in a transaction: committed if it settles, rolled back if it rejects.
 *
 * @param work must await every statement
 */
export async function inTransaction<Result>(
  sql: Sql,
  work: (tx: Sql, state: TransactionState) => Promise<Result>,
  mode?: TransactionMode,
): Promise<Result> {
  return await beginTransaction(sql, mode, work);
}

/** Does work in a savepoint of a transaction: if it rejects, only the work is rolled back. */
export async function inSavepoint<Result>(tx: Sql, work: (tx: Sql) => Promise<Result>): Promise<Result> {
  const { result } = await (tx as unknown as TransactionSql).savepoint(async (savepoint) => ({
    result: await work(savepoint as unknown as Sql),
  }));
  return result;
}
