import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { describeHolder, type LockHolder } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";
import { pollUntil } from "../retry.ts";
import { watchBlockers } from "../schema/blockers.ts";
import { type DoctorContext, onOwnServer } from "./context.ts";

/** An index that an interrupted statement has left. */
export interface InvalidIndex {
  /** Quoted, with its schema. */
  readonly name: string;
  /** Quoted, with its schema. */
  readonly table: string;
  /** Whether an interrupted `reindex concurrently` has left it beside the old one. */
  readonly isLeftover: boolean;
  readonly isUnique: boolean;
}

/** @returns what makes the index valid, or removes it */
export function statementOf({ name, isLeftover }: InvalidIndex): string {
  return `${isLeftover ? "drop" : "reindex"} index concurrently ${name}`;
}

/**
 * Runs that statement. It would wait for the transactions that are open, and leave another INVALID index if that takes
 * too long; so it begins only once they have ended.
 *
 * @throws {ScriptError} `LOCKED` (exit 5) with the session that was waited for
 */
export async function repairIndex(context: DoctorContext, index: InvalidIndex): Promise<void> {
  const { run, config } = context;
  const stack = await context.stack();
  const report = (holder: string) => run.reporter.info(`${index.name} waits for ${holder}`);
  await onOwnServer(stack, run, async ({ sql: observer }) => {
    await onOwnServer(stack, run, async ({ sql }) => {
      await awaitTransactions(context, sql, { index, report });
      const [own] = await sql<{ pid: number }[]>`
        select pg_backend_pid() as pid from set_config('lock_timeout', ${`${config.timeoutMs}ms`}, false)`;
      await using _watch = watchBlockers(observer, () => own?.pid, report);
      await runOrCleanUp(sql, index);
    });
  });
}

const intervalMs = 250;

/** Waits for the transactions that were open at the start. */
async function awaitTransactions(
  { run, config }: DoctorContext,
  sql: Sql,
  { index, report }: { readonly index: InvalidIndex; readonly report: (holder: string) => void },
): Promise<void> {
  const [start] = await sql<{ time: string }[]>`select clock_timestamp()::text as time`;
  const seen = new Set<string>();
  const isOver = async () => {
    const holders = (await readTransactions(sql, index.table, start?.time ?? "now")).map(describeHolder);
    for (const holder of holders.filter((one) => !seen.has(one))) {
      report(holder);
      seen.add(holder);
    }
    return holders.length === 0 || undefined;
  };
  const limit = { timeoutMs: config.timeoutMs, signal: run.signal, intervalMs };
  if ((await pollUntil(isOver, limit)) === undefined) throw stillOpen(index, [...seen].at(-1) ?? "a transaction");
}

/** Those with a snapshot or with a lock on the table. A prepared one has the pid 0. */
async function readTransactions(sql: Sql, table: string, start: string): Promise<readonly LockHolder[]> {
  return await sql<LockHolder[]>`
    with holder as (
      select pid, virtualtransaction from pg_locks
      where granted and relation = ${table}::regclass
        and database = (select oid from pg_database where datname = current_database())
    )
    select pid, usename::text as login, application_name as application from pg_stat_activity as activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
      and xact_start < ${start}::timestamptz
      and (backend_xmin is not null or exists (select from holder where holder.pid = activity.pid))
    union all
    select 0, owner::text, 'prepared transaction ' || gid from pg_prepared_xacts
    where database = current_database()
      and exists (select from holder where virtualtransaction = '-1/' || pg_prepared_xacts.transaction)`;
}

function stillOpen({ name }: InvalidIndex, holder: string): ScriptError {
  return new ScriptError({
    code: "LOCKED",
    exitCode: exitCodes.locked,
    message: `${name} was left as it is, because the transaction of ${holder} is still open`,
    fix: "End that transaction, then run this again.",
  });
}

/** A `reindex concurrently` that fails leaves the index that it was building. */
async function runOrCleanUp(sql: Sql, index: InvalidIndex): Promise<void> {
  const former = await readLeftovers(sql, index);
  try {
    await sql.unsafe(statementOf(index));
  } catch (error) {
    const added = (await readLeftovers(sql, index).catch(() => [])).filter((name) => !former.includes(name));
    // One that cannot be dropped either is found the next time.
    for (const name of added) await sql.unsafe(`drop index concurrently ${name}`).catch(() => {});
    throw error;
  }
}

async function readLeftovers(sql: Sql, { table }: InvalidIndex): Promise<readonly string[]> {
  const rows = await sql<{ name: string }[]>`
    select format('%I.%I', nspname, relname) as name from pg_index
    join pg_class on pg_class.oid = indexrelid
    join pg_namespace on pg_namespace.oid = relnamespace
    where indrelid = ${table}::regclass and not indisvalid and relname ~ '_ccnew[0-9]*$'`;
  return rows.map(({ name }) => name);
}
