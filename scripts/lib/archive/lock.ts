import process from "node:process";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import type { Sql } from "../postgres/connect.ts";

/** The letters of "arch", so that the key is recognised in pg_locks. */
const lockKey = 0x61_72_63_68;

/** @returns the name by which a session that holds the lock is known to others */
export function lockHolderName(command: string): string {
  return `cqrs-postgres ${command} (pid ${process.pid})`;
}

/**
 * Takes the lock of a database's archives: one backup or restore at a time. It ends with the connection.
 *
 * It is held in another database, as the one it is about may be renamed meanwhile.
 *
 * @param sql a single connection to the server's maintenance database, named by {@link lockHolderName}
 * @throws {ScriptError} `LOCKED` (exit 5) at once, with the holder
 */
export async function lockArchives(sql: Sql, database: string): Promise<void> {
  const [row] = await sql<{ isMine: boolean }[]>`
    select pg_catalog.pg_try_advisory_lock(${lockKey}, pg_catalog.hashtext(${database})) as "isMine"`;
  if (row?.isMine === true) return;
  throw new ScriptError({
    code: "LOCKED",
    exitCode: exitCodes.locked,
    message: `Another backup or restore of ${database} is at work`,
    why: `${await readHolder(sql, database)} holds the lock.`,
    fix: "Wait for it to end, or end it; then run this again.",
  });
}

async function readHolder(sql: Sql, database: string): Promise<string> {
  const [row] = await sql<{ pid: number; application: string | null }[]>`
    select held.pid, activity.application_name as application
    from pg_catalog.pg_locks as held left join pg_catalog.pg_stat_activity as activity using (pid)
    where held.locktype = 'advisory' and held.granted and held.objsubid = 2
      and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
      and held.classid = ${lockKey}::bigint::oid
      and held.objid = (pg_catalog.hashtext(${database})::bigint & 4294967295)::oid`;
  if (row === undefined) return "A session that has just ended";
  return `${row.application || "A session without a name"}, session ${row.pid},`;
}
