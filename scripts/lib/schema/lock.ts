import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/connect.ts";

/** How to wait for the schema's lock. */
export interface SchemaLockOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called once when the lock is not free at once. */
  readonly onWait: (holder: string) => void;
}

/** The letters of "schema", so that the key is recognised in pg_locks. */
const lockKey = 0x73_63_68_65_6d_61n;
const pollIntervalMs = 50;

/**
 * Takes the lock under which a schema is changed; it ends with the connection.
 *
 * It is asked for again and again: a session that waits inside `pg_advisory_lock` holds a snapshot, and a
 * `CREATE INDEX CONCURRENTLY` of the holder would wait for that (a deadlock, 40P01).
 *
 * @param sql a connection of its own
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder, when it was not free in time
 */
export async function lockSchema(sql: Sql, options: SchemaLockOptions): Promise<void> {
  const deadline = Date.now() + options.timeoutMs;
  for (let attempt = 0; ; attempt++) {
    const [row] = await sql<{ isMine: boolean }[]>`select pg_catalog.pg_try_advisory_lock(${lockKey}) as "isMine"`;
    if (row?.isMine === true) return;
    if (attempt === 0 || Date.now() > deadline) {
      const holder = await readHolder(sql);
      if (Date.now() > deadline) throw locked(holder, options.timeoutMs);
      options.onWait(holder);
    }
    await sleep(pollIntervalMs, undefined, { signal: options.signal });
  }
}

async function readHolder(sql: Sql): Promise<string> {
  const [row] = await sql<{ pid: number; user: string | null; application: string | null }[]>`
    select held.pid, activity.usename::text as "user", activity.application_name as application
    from pg_catalog.pg_locks as held
    left join pg_catalog.pg_stat_activity as activity using (pid)
    where held.locktype = 'advisory' and held.granted
      and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
      and held.objsubid = 1
      and held.classid = ${lockKey >> 32n}::bigint::oid and held.objid = ${lockKey & 0xff_ff_ff_ffn}::bigint::oid`;
  if (row === undefined) return "a session that has just ended";
  return `session ${row.pid} (${row.application || "no name"}, ${row.user ?? "another login"})`;
}

function locked(holder: string, timeoutMs: number): ScriptError {
  return new ScriptError({
    code: "LOCKED",
    exitCode: exitCodes.locked,
    message: "Another session is changing the schema",
    why: `${holder} held the lock for ${timeoutMs} ms.`,
    fix: "Wait for it, or end it by select pg_terminate_backend(<session>); then run this again.",
  });
}
