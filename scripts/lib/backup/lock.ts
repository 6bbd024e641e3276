import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { ConnectionTarget, Sql } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/failure.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import { isAlive } from "../process.ts";

/** The letters of "arch", so that the key is recognised in pg_locks. */
const lockKey = 0x61_72_63_68;

/** @returns the name by which a session that holds the lock is known to others */
export function lockHolderName(command: string): string {
  return `cqrs-postgres ${command} (pid ${process.pid})`;
}

/** How long the server may take to notice that the holder was killed: it first ends what it is doing for it. */
const noticeMs = 30_000;
const pollIntervalMs = 50;

interface Holder {
  readonly pid: number;
  readonly application: string | null;
}

/**
 * Takes the lock of a database's archives: one backup or restore at a time. It ends with the connection.
 *
 * It is held in another database, as the one it is about may be renamed meanwhile. Whoever holds it is not waited for,
 * unless its process is gone already.
 *
 * @param sql a single connection to the server's maintenance database, named by {@link lockHolderName}
 * @throws {ScriptError} `LOCKED` (exit 5) with the holder
 */
export async function lockArchives(sql: Sql, database: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + noticeMs;
  for (;;) {
    const [row] = await sql<{ isMine: boolean }[]>`
      select pg_catalog.pg_try_advisory_lock(${lockKey}, pg_catalog.hashtext(${database})) as "isMine"`;
    if (row?.isMine === true) return;
    const holder = await readHolder(sql, database);
    if (!isGone(holder) || Date.now() > deadline) throw locked(database, holder);
    await sleep(pollIntervalMs, undefined, { signal });
  }
}

function isGone(holder: Holder | undefined): boolean {
  const pid = / \(pid (\d+)\)$/.exec(holder?.application ?? "")?.[1];
  return holder === undefined || (pid !== undefined && !isAlive(Number(pid)));
}

function locked(database: string, holder: Holder | undefined): ScriptError {
  const name = holder?.application || "a session without a name";
  return new ScriptError({
    code: "LOCKED",
    exitCode: exitCodes.locked,
    message: `Another backup or restore of ${database} is at work`,
    why: `The lock is held by ${name}, session ${holder?.pid ?? "unknown"}.`,
    fix: "Wait for it to end, or end it; then run this again.",
  });
}

async function readHolder(sql: Sql, database: string): Promise<Holder | undefined> {
  const [row] = await sql<Holder[]>`
    select held.pid, activity.application_name as application
    from pg_catalog.pg_locks as held left join pg_catalog.pg_stat_activity as activity using (pid)
    where held.locktype = 'advisory' and held.granted and held.objsubid = 2
      and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
      and held.classid = ${lockKey}::bigint::oid
      and held.objid = (pg_catalog.hashtext(${database})::bigint & 4294967295)::oid`;
  return row;
}

/**
 * Does work under the lock of a database's archives.
 *
 * @param holder what is at work, as others are told: `backup`
 * @param work gets the session that holds the lock, in another database of the server
 * @throws {ScriptError} `LOCKED` (exit 5), `NOT_READY` (exit 3), also when the server goes away meanwhile
 */
export async function withArchivesLocked<Result>(
  target: ConnectionTarget,
  holder: string,
  signal: AbortSignal,
  work: (maintenance: Sql) => Promise<Result>,
): Promise<Result> {
  try {
    const options = { applicationName: lockHolderName(holder), signal };
    await using maintenance = await connectForMaintenance(target, options);
    await lockArchives(maintenance.sql, target.database, signal);
    return await work(maintenance.sql);
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}
