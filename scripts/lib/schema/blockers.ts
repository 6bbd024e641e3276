import { setTimeout as sleep } from "node:timers/promises";
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
 * @param pid the session that may wait
 * @param onBlocked called once for each session that it waits for
 */
export function watchBlockers(sql: Sql, pid: number, onBlocked: (holder: string) => void): BlockerWatch {
  const stop = new AbortController();
  const seen = new Set<number>();
  let last: string | undefined;
  const look = async () => {
    const holders = await sql<LockHolder[]>`
      select pid, usename::text as login, application_name as application from pg_catalog.pg_stat_activity
      where pid = any (pg_catalog.pg_blocking_pids(${pid}))`;
    for (const holder of holders) {
      last = describeHolder(holder);
      if (!seen.has(holder.pid)) onBlocked(last);
      seen.add(holder.pid);
    }
  };
  const watch = async () => {
    for (;;) {
      await sleep(intervalMs, undefined, { signal: stop.signal });
      await look();
    }
  };
  // Ends with the abort, or with the session, whose loss is reported elsewhere.
  const ended = watch().catch(() => {});
  return {
    get last() {
      return last;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}
