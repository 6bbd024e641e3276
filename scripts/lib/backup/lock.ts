import process from "node:process";
import { locked } from "../cli/errors.ts";
import { describeHolder, type LockHolder, takeAdvisoryLock } from "../postgres/advisory-lock.ts";
import { type Connection, openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import { requirePrimary } from "../postgres/primary.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { isAlive } from "../process.ts";
import type { RunContext, Stack } from "../stack/stack.ts";
import { watchLocks } from "./watch-locks.ts";

/** What to lock, and for which command. */
export interface ArchiveLock {
  readonly stack: Stack;
  /** The database whose archives are locked. */
  readonly target: ConnectionTarget;
  readonly run: RunContext;
  /** The command that holds the lock, as shown to users of other commands: `backup`. */
  readonly command: string;
}

/** What a backup or restore works with while it holds the lock. */
export interface ArchiveContext extends ArchiveLock {
  /** The session that holds the lock, in another database of the same server. */
  readonly maintenance: Sql;
}

/** @returns the application name of a session that holds the lock */
export function lockHolderName(command: string): string {
  return `cqrs-postgres ${command} (pid ${process.pid})`;
}

/** How long the server may take to end the session of a killed process, as it first finishes the current statement. */
const noticeMs = 30_000;

/**
 * Takes the lock of a database's archives, which allows one backup or restore at a time. The session holds it until it
 * ends.
 *
 * The lock is held in another database, because the target may be renamed. If another process holds it, this fails at
 * once, unless that process no longer exists.
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
 * Runs work while holding the lock of a database's archives.
 *
 * @throws {ScriptError} `LOCKED` (exit 5); `STANDBY` (exit 9); `NOT_READY` (exit 3), also if the server goes down
 * during the work
 */
export async function withArchivesLocked<Result>(
  lock: ArchiveLock,
  work: (context: ArchiveContext) => Promise<Result>,
): Promise<Result> {
  const { target, command, run } = lock;
  try {
    const options = { applicationName: lockHolderName(command), signal: run.signal };
    await using maintenance = await connectForMaintenance(target, options);
    await requirePrimary(maintenance.sql, target);
    await lockArchives(maintenance.sql, target.database, run.signal);
    await using _watch = watchLocks(target, run);
    return await work({ ...lock, maintenance: maintenance.sql });
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

/** Opens a pool of a restore, with the role that owns all objects. It connects once more if two statements wait. */
export function connectToRestore(target: ConnectionTarget, { signal }: RunContext): Connection {
  const applicationName = lockHolderName("restore");
  return openConnection(target, { applicationName, role: groupRoles.owner, signal, max: 2 });
}
