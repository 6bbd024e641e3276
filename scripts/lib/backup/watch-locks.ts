import { setTimeout as sleep } from "node:timers/promises";
import { describeHolder, type LockHolder } from "../postgres/advisory-lock.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import type { RunContext } from "../stack/stack.ts";

const intervalMs = 1000;

/** Reports which sessions a backup, restore or reset waits for, until it is disposed of. */
export function watchLocks(target: ConnectionTarget, run: RunContext): AsyncDisposable {
  const ended = new AbortController();
  // The command itself reports that the server is gone.
  const watching = watch(target, run, ended.signal).catch(() => {});
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await watching;
    },
  };
}

async function watch(target: ConnectionTarget, run: RunContext, signal: AbortSignal): Promise<void> {
  if (!(await pause(signal))) return;
  const options = { applicationName: "cqrs-postgres watch", signal: AbortSignal.any([signal, run.signal]) };
  await using connection = await connectForMaintenance(target, options);
  const reported = new Set<number>();
  do {
    const holders = await connection.sql<LockHolder[]>`
      select blocker.pid, blocker.usename::text as login, blocker.application_name as application
      from pg_catalog.pg_stat_activity as own
      cross join lateral unnest(pg_catalog.pg_blocking_pids(own.pid)) as blocking (pid)
      join pg_catalog.pg_stat_activity as blocker on blocker.pid = blocking.pid
      where own.datname = ${target.database} and own.wait_event_type = 'Lock'
        and own.application_name ~ '^cqrs-postgres (backup|restore|reset|template)'`;
    for (const holder of holders.filter(({ pid }) => !reported.has(pid))) {
      reported.add(holder.pid);
      run.reporter.info(`waiting for ${describeHolder(holder)}, which holds a lock`);
    }
  } while (await pause(signal));
}

function pause(signal: AbortSignal): Promise<boolean> {
  return sleep(intervalMs, true, { signal }).catch(() => false);
}
