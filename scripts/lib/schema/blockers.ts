import { clearInterval, setInterval } from "node:timers";
import { describeHolder, type LockHolder } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";

/** Watches which sessions another one waits for, until it is disposed of. */
export interface BlockerWatch extends AsyncDisposable {
  /** The session that was waited for last. */
  readonly last: string | undefined;
}

const intervalMs = 250;

/**
 * @param sql a session that is idle
 * @param pid the session that may wait; undefined while there is none
 * @param onBlocked called once for each session that it waits for
 */
export function watchBlockers(
  sql: Sql,
  pid: () => number | undefined,
  onBlocked: (holder: string) => void,
): BlockerWatch {
  const seen = new Set<number>();
  let last: string | undefined;
  let looking: Promise<void> | undefined;
  const look = async () => {
    for (const holder of await readBlockers(sql, pid())) {
      last = describeHolder(holder);
      if (!seen.has(holder.pid)) onBlocked(last);
      seen.add(holder.pid);
    }
    looking = undefined;
  };
  const timer = setInterval(() => {
    // It ends with the session, whose loss is reported elsewhere.
    looking ??= look().catch(() => clearInterval(timer));
  }, intervalMs);
  return {
    get last() {
      return last;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await looking;
    },
  };
}

async function readBlockers(sql: Sql, pid: number | undefined): Promise<readonly LockHolder[]> {
  if (pid === undefined) return [];
  return sql<LockHolder[]>`
    select pid, usename::text as login, application_name as application from pg_catalog.pg_stat_activity
    where pid = any (pg_catalog.pg_blocking_pids(${pid}))`;
}
