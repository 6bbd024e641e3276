import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";

/** The cost of some work per event. */
export interface Cost {
  readonly eventsPerSecond: number;
  /** CPU time of the whole server in microseconds per event; NaN without /proc. */
  readonly serverMicroseconds: number;
  /** CPU time of this process in microseconds per event. */
  readonly clientMicroseconds: number;
  readonly walBytes: number;
}

/** Measures what some work costs the cluster and this process. */
export interface CostMeter {
  /**
   * Nothing else may use the cluster during the measurement.
   *
   * @param work returns the number of events
   */
  measure(work: () => Promise<number>): Promise<Cost>;
}

/**
 * Creates a meter for a cluster.
 *
 * The server's CPU time is what the kernel counted for its processes, the WAL writer included: for those that are alive,
 * and through the postmaster for those that have ended. Linux only.
 *
 * @param admin a superuser's connection to the cluster
 * @param dataDir where the cluster's data is
 */
export async function makeCostMeter(admin: Sql, dataDir: string): Promise<CostMeter> {
  const postmaster = (await readFile(join(dataDir, "postmaster.pid"), "utf8")).split("\n")[0] ?? "";
  return {
    async measure(work) {
      await flush(admin);
      const walStart = await walPosition(admin);
      const serverStart = await serverSeconds(postmaster);
      const clientStart = process.cpuUsage();
      const startedAt = performance.now();
      const events = await work();
      const seconds = (performance.now() - startedAt) / 1000;
      const client = process.cpuUsage(clientStart);
      const walEnd = await walPosition(admin);
      // Work that was committed asynchronously reaches the disk later, but belongs to this measurement.
      await flush(admin);
      return {
        eventsPerSecond: events / seconds,
        serverMicroseconds: (((await serverSeconds(postmaster)) - serverStart) * 1e6) / events,
        clientMicroseconds: (client.user + client.system) / events,
        walBytes: Number(walEnd - walStart) / events,
      };
    },
  };
}

async function walPosition(admin: Sql): Promise<bigint> {
  const [row] = await admin<{ bytes: bigint }[]>`select (pg_current_wal_insert_lsn() - '0/0')::int8 as bytes`;
  return row?.bytes ?? 0n;
}

/** A transaction that waits for the disk, and so for everything written before it. */
async function flush(admin: Sql): Promise<void> {
  await admin.begin(async (tx) => {
    await tx`set local synchronous_commit = on`;
    await tx`select pg_logical_emit_message(true, 'benchmark', '')`;
  });
}

/** USER_HZ, the unit of /proc: 100 on every platform that the server is built for. */
const ticksPerSecond = 100;

async function serverSeconds(postmaster: string): Promise<number> {
  if (process.platform !== "linux") return Number.NaN;
  const stats = await Promise.all((await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(readStat));
  let ticks = 0;
  for (const stat of stats) {
    if (stat?.pid === postmaster) ticks += stat.own + stat.ofEnded;
    else if (stat?.parent === postmaster) ticks += stat.own;
  }
  return ticks / ticksPerSecond;
}

interface ProcessStat {
  readonly pid: string;
  readonly parent: string | undefined;
  /** Ticks of the process itself. */
  readonly own: number;
  /** Ticks of its children that have ended. */
  readonly ofEnded: number;
}

/** @returns undefined if the process has ended */
async function readStat(pid: string): Promise<ProcessStat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // proc(5): the name may contain anything and ends at the last parenthesis; the state is the next field.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return undefined;
  const ticks = (index: number) => Number(fields[index] ?? 0);
  return { pid, parent: fields[1], own: ticks(11) + ticks(12), ofEnded: ticks(13) + ticks(14) };
}
