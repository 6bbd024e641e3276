import { type BackupEntry, listBackups, type UnreadableEntry } from "../backup/list.ts";
import { formatSeconds } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { type Finding, failed, ok, skipped } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";

export const backupChecks: readonly Check[] = [
  { id: "backup", title: "The last backup is recent, and passed a verification", run: checkBackup },
];

const daySeconds = 86_400;

/**
 * Without any archive it is not checked: a new stack has nothing to lose, and other servers have backups that we do not
 * know. Once there is one, its owner relies on it. An archive that was never verified does not count.
 */
async function checkBackup({ stack, limits }: VerifyContext): Promise<Finding> {
  const { archives, unreadable } = await listBackups(stack);
  const ours = archives.filter(({ database }) => database === stack.database);
  const newest = ours.at(-1);
  const damaged = unreadable.find((one) => newest === undefined || timeOf(one) > timeOf(newest));
  if (damaged !== undefined) {
    const fix = `Delete it or restore an undamaged copy, then run ${runLine("backup")}.`;
    return failed(damaged.archive, `The newest archive cannot be used: ${damaged.why}`, fix);
  }
  if (newest === undefined) {
    return skipped(`there is no archive of ${stack.database} here; ${runLine("backup")} writes one`);
  }
  return judgeAge(ours, newest, limits.maxBackupDays);
}

function judgeAge(archives: readonly BackupEntry[], newest: BackupEntry, maxDays: number): Finding {
  const verified = archives.findLast(({ verifiedAt }) => verifiedAt !== null);
  const evidence = `${archives.length} archives, the newest ${describe(newest)}`;
  const verify = `Run ${runLine("backup verify")}.`;
  if (verified === undefined) return failed(evidence, "No archive was ever verified.", verify);
  if (ageSeconds(verified.endedAt) > maxDays * daySeconds) {
    const isOld = ageSeconds(newest.endedAt) > maxDays * daySeconds;
    const why = `The newest archive that passed a verification, ${describe(verified)}; the limit is ${maxDays} days.`;
    return failed(evidence, why, isOld ? `Run ${runLine("backup")}, then ${runLine("backup verify")}.` : verify);
  }
  return ok(verified === newest ? evidence : `${evidence}; the newest verified one ${describe(verified)}`);
}

/** @returns `cqrs_db-20261125T031500123Z, is 2 h old, verified 1 h ago` */
function describe({ id, endedAt, verifiedAt }: BackupEntry): string {
  const verified = verifiedAt === null ? "not verified" : `verified ${formatSeconds(ageSeconds(verifiedAt))} ago`;
  return `${id}, is ${formatSeconds(ageSeconds(endedAt))} old, ${verified}`;
}

function ageSeconds(time: string): number {
  return Math.max(0, (Date.now() - Date.parse(time)) / 1000);
}

/** The time in its name, which is all that is known of an archive that cannot be read. */
function timeOf({ id }: Pick<UnreadableEntry, "id">): string {
  return id.slice(id.lastIndexOf("-") + 1);
}
