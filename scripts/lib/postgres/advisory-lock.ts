import { pollUntil, type WaitLimit } from "../retry.ts";
import type { Sql } from "./driver.ts";

/** Identifies a lock within a database: sessions compete for it if both parts are equal. */
export interface AdvisoryKey {
  /** Four ASCII letters that identify the lock in pg_locks. */
  readonly tag: string;
  /** Distinguishes locks with the same tag, such as by the name of a database. */
  readonly name: string;
}

/** The session that holds a lock. */
export interface LockHolder {
  readonly pid: number;
  readonly login: string | null;
  readonly application: string | null;
}

/** How to wait for a lock. */
export interface AdvisoryLockOptions extends WaitLimit {
  /**
   * Called whenever the lock is found taken; @default always true
   *
   * @param holder undefined if it has released the lock in the meantime
   * @returns false to give up
   */
  readonly shouldWait?: (holder: LockHolder | undefined) => boolean;
}

/** Whether we hold the lock and, if not, who does. */
export type LockResult =
  | { readonly isTaken: true }
  | { readonly isTaken: false; readonly holder: LockHolder | undefined };

const pollIntervalMs = 50;

/**
 * Takes an advisory lock; the session holds it until it ends.
 *
 * Polls instead of waiting inside `pg_advisory_lock`: a waiting session holds a snapshot, and `CREATE INDEX
 * CONCURRENTLY` in the holder's session would wait for that snapshot, which is a deadlock (40P01).
 *
 * @param sql a single connection
 */
export async function takeAdvisoryLock(
  sql: Sql,
  key: AdvisoryKey,
  { shouldWait = () => true, ...limit }: AdvisoryLockOptions,
): Promise<LockResult> {
  let holder: LockHolder | undefined;
  const tryOnce = async () => {
    const [row] = await sql<{ isMine: boolean }[]>`
      select pg_catalog.pg_try_advisory_lock(${classId(key)}, pg_catalog.hashtext(${key.name})) as "isMine"`;
    if (row?.isMine === true) return true;
    holder = await readHolder(sql, key);
    return shouldWait(holder) ? undefined : false;
  };
  const isTaken = await pollUntil(tryOnce, { ...limit, intervalMs: pollIntervalMs });
  return isTaken === true ? { isTaken } : { isTaken: false, holder };
}

/**
 * Takes an advisory lock for the rest of a transaction, also behind a pooler.
 *
 * @param onWait called if another session holds it
 */
export async function takeTransactionLock(tx: Sql, key: AdvisoryKey, onWait: () => void): Promise<void> {
  const [row] = await tx<{ isMine: boolean }[]>`
    select pg_catalog.pg_try_advisory_xact_lock(${classId(key)}, pg_catalog.hashtext(${key.name})) as "isMine"`;
  if (row?.isMine === true) return;
  onWait();
  await tx`select pg_catalog.pg_advisory_xact_lock(${classId(key)}, pg_catalog.hashtext(${key.name}))`;
}

/** @returns `session 4711 (cqrs-postgres backup, postgres)` */
export function describeHolder(holder: LockHolder | undefined): string {
  if (holder === undefined) return "a session that has just ended";
  return `session ${holder.pid} (${holder.application || "no name"}, ${holder.login ?? "another login"})`;
}

async function readHolder(sql: Sql, key: AdvisoryKey): Promise<LockHolder | undefined> {
  const [row] = await sql<LockHolder[]>`
    select held.pid, activity.usename::text as login, activity.application_name as application
    from pg_catalog.pg_locks as held
    left join pg_catalog.pg_stat_activity as activity using (pid)
    where held.locktype = 'advisory' and held.granted and held.objsubid = 2
      and held.database = (select oid from pg_catalog.pg_database where datname = current_database())
      and held.classid = ${classId(key)}::bigint::oid
      and held.objid = (pg_catalog.hashtext(${key.name})::bigint & 4294967295)::oid`;
  return row;
}

function classId({ tag }: AdvisoryKey): number {
  return Buffer.from(tag, "latin1").readInt32BE();
}
