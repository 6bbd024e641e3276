import process from "node:process";
import { locked } from "../cli/errors.ts";
import { describeHolder, type LockHolder, takeAdvisoryLock } from "../postgres/advisory-lock.ts";
import type { ConnectionTarget, Sql } from "../postgres/connect.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import { isAlive } from "../process.ts";

/** @returns the name by which a session that holds the lock is known to others */
export function lockHolderName(command: string): string {
  return `cqrs-postgres ${command} (pid ${process.pid})`;
}

/** How long the server may take to notice that the holder was killed: it first ends what it is doing for it. */
const noticeMs = 30_000;

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
  const options = { timeoutMs: noticeMs, signal, shouldWait: isGone };
  const lock = await takeAdvisoryLock(sql, { tag: "arch", name: database }, options);
  if (lock.isTaken) return;
  throw locked(
    `Another backup or restore of ${database} is running`,
    `The lock is held by ${describeHolder(lock.holder)}.`,
  );
}

function isGone(holder: LockHolder | undefined): boolean {
  const pid = / \(pid (\d+)\)$/.exec(holder?.application ?? "")?.[1];
  return holder === undefined || (pid !== undefined && !isAlive(Number(pid)));
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
