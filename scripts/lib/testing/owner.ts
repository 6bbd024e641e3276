import { randomUUID } from "node:crypto";
import process from "node:process";
import { hasProcess, readStartTime } from "../process.ts";

const prefix = "cqrs_test";

/**
 * Names a new database after this process, so that others can tell when it is gone. The start time is part of the name,
 * because pids recur.
 */
export function nameDatabase(): string {
  const { pid } = process;
  ownStartTime ??= readStartTime(pid) ?? 0;
  return `${prefix}_${pid}_${ownStartTime}_${randomUUID().slice(0, 8)}`;
}

let ownStartTime: number | undefined;

/** @returns the names of databases whose process is gone */
export function findOrphans(names: readonly string[]): string[] {
  const isGone = new Map<string, boolean>();
  return names.filter((name) => {
    const [, owner, pid, startTime] = /^cqrs_test_((\d+)_(\d+))_[0-9a-f]{8}$/.exec(name) ?? [];
    if (owner === undefined) return false;
    const known = isGone.get(owner) ?? !isRunning(Number(pid), Number(startTime));
    isGone.set(owner, known);
    return known;
  });
}

function isRunning(pid: number, startTime: number): boolean {
  return hasProcess(pid) && (readStartTime(pid) ?? 0) === startTime;
}
