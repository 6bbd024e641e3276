import type { Sql, Transaction, TransactionState } from "./driver.ts";
import { stateOf } from "./pool/scope.ts";

/** Options of `BEGIN`. */
export type TransactionMode =
  | "read only"
  | "isolation level read committed"
  | "isolation level repeatable read read only";

/** Runs work in a transaction: commits if the work resolves, rolls back if it rejects. */
export async function inTransaction<Result>(
  sql: Sql,
  work: (tx: Sql) => Promise<Result>,
  mode: TransactionMode | "" = "",
): Promise<Result> {
  // In an object, because begin() awaits the elements of an array.
  const { result } = await sql.begin(mode, async (tx) => ({ result: await work(tx as unknown as Sql) }));
  return result;
}

/** Runs work in a transaction that is always rolled back. */
export async function inRolledBackTransaction<Result>(sql: Sql, work: (tx: Sql) => Promise<Result>): Promise<Result> {
  let done: { readonly result: Result } | undefined;
  try {
    await inTransaction(sql, async (tx) => {
      done = { result: await work(tx) };
      throw new RolledBack();
    });
  } catch (error) {
    if (!(error instanceof RolledBack)) throw error;
  }
  return (done as unknown as { readonly result: Result }).result;
}

class RolledBack extends Error {}

/** Runs work in a savepoint: if the work rejects, only its own changes are rolled back. */
export async function inSavepoint<Result>(tx: Sql, work: (tx: Sql) => Promise<Result>): Promise<Result> {
  const { result } = await (tx as unknown as Transaction).savepoint(async (savepoint) => ({
    result: await work(savepoint as unknown as Sql),
  }));
  return result;
}

/** @returns what is known about a transaction of `inTransaction()` */
export function transactionState(tx: Sql): TransactionState {
  return stateOf(tx);
}
