import { retry } from "../../retry.ts";
import { errorCode } from "../failure.ts";

const attempts = 10;
const alreadyThere = ["23505", "42710"];

/**
 * Runs work that reads and repairs roles or databases; again when another session changed the same at the same time.
 *
 * PostgreSQL does not serialise such changes: the slower session fails with XX000, "tuple concurrently updated". An
 * advisory lock would not help, as it holds in one database only while roles and databases are shared by all.
 *
 * @param work idempotent, and one transaction
 */
export async function retryRace<Result>(work: () => Promise<Result>): Promise<Result> {
  return await retry(work, { pauseMs: (error, attempt) => (isRace(error) && attempt < attempts ? 0 : undefined) });
}

function isRace(error: unknown): boolean {
  const code = errorCode(error);
  return alreadyThere.includes(code) || (code === "XX000" && / concurrently /.test((error as Error).message));
}
