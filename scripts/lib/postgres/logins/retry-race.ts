import { retry } from "../../retry.ts";
import { errorCode } from "../failure.ts";

const attempts = 10;
/** unique_violation and duplicate_object: another session has created it. */
const alreadyExists = ["23505", "42710"];

/**
 * A race means that another session changes the same role or database at the same time. Runs work that repairs roles or
 * databases, and retries it if it loses a race.
 *
 * PostgreSQL does not serialise such changes: the slower session fails with XX000, "tuple concurrently updated". An
 * advisory lock would not help: it exists in one database, while roles and databases are shared by all.
 *
 * @param work idempotent, and one transaction
 */
export async function retryRace<Result>(work: () => Promise<Result>): Promise<Result> {
  return await retry(work, { pauseMs: (error, attempt) => (isRace(error) && attempt < attempts ? 0 : undefined) });
}

function isRace(error: unknown): boolean {
  const code = errorCode(error);
  return alreadyExists.includes(code) || (code === "XX000" && / concurrently /.test((error as Error).message));
}
