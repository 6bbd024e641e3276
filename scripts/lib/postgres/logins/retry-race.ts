import { retry } from "../../retry.ts";
import { errorCode } from "../failure.ts";

const attempts = 10;
/** unique_violation and duplicate_object: another session created it first. */
const alreadyExists = ["23505", "42710"];

/**
 * Runs work that repairs roles or databases, and retries it if another session concurrently changed the same one.
 *
 * PostgreSQL does not serialise such changes: the slower session fails with XX000, "tuple concurrently updated". An
 * advisory lock would not help, because it is local to a database, while roles and databases are shared by all.
 *
 * @param work must be idempotent, and a single transaction
 */
export async function retryRace<Result>(work: () => Promise<Result>): Promise<Result> {
  return await retry(work, { pauseMs: (error, attempt) => (isRace(error) && attempt < attempts ? 0 : undefined) });
}

function isRace(error: unknown): boolean {
  const code = errorCode(error);
  return alreadyExists.includes(code) || (code === "XX000" && / concurrently /.test((error as Error).message));
}
