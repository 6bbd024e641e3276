import { locked } from "../cli/errors.ts";
import { describeHolder, takeAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";

/** How to wait for the schema's lock. */
export interface SchemaLockOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called once if another session holds the lock. */
  readonly onWait: (holder: string) => void;
}

/**
 * Takes the lock for changes to the schema; the session holds it until it ends.
 *
 * @param sql a connection of its own
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder, if the lock was not free in time
 */
export async function lockSchema(sql: Sql, { timeoutMs, signal, onWait }: SchemaLockOptions): Promise<void> {
  let isReported = false;
  const lock = await takeAdvisoryLock(
    sql,
    { tag: "sche", name: "" },
    {
      timeoutMs,
      signal,
      shouldWait: (holder) => {
        if (!isReported) onWait(describeHolder(holder));
        isReported = true;
        return true;
      },
    },
  );
  if (lock.isTaken) return;
  throw locked(
    "Another session is changing the schema",
    `${describeHolder(lock.holder)} held the lock for ${timeoutMs} ms.`,
    "Wait for that session, or end it with select pg_terminate_backend(<session>), then run this again.",
  );
}
