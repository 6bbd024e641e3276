import type { TransactionSql } from "postgres";
import type { Sql } from "./connect.ts";
import { beginTransaction } from "./driver.ts";

/** Options of `BEGIN`. */
export type TransactionMode = "read only" | "isolation level repeatable read read only";

/** The state of a running transaction. */
export interface TransactionState {
  /** The session has ended: the transaction was rolled back, and its work should stop. */
  readonly isLost: boolean;
}

/**
 * Runs work in a transaction: commits if the work resolves, rolls back if it rejects.
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

/** Runs work in a savepoint: if the work rejects, only its own changes are rolled back. */
export async function inSavepoint<Result>(tx: Sql, work: (tx: Sql) => Promise<Result>): Promise<Result> {
  const { result } = await (tx as unknown as TransactionSql).savepoint(async (savepoint) => ({
    result: await work(savepoint as unknown as Sql),
  }));
  return result;
}
