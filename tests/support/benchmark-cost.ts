import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { Sql } from "../../scripts/lib/postgres/connect.ts";

/** What a piece of work cost for each of its events. */
export interface Cost {
  readonly eventsPerSecond: number;
  /** Processor time of the whole server, in microseconds an event; NaN where there is no /proc. */
  readonly serverMicroseconds: number;
  /** Processor time of this process, in microseconds an event. */
  readonly clientMicroseconds: number;
  readonly walBytes: number;
}

/** Measures what work costs a cluster and this process. */
export interface CostMeter {
  /**
   * Nothing else may use the cluster meanwhile.
   *
   * @param work returns how many events it was about
   */
  measure(work: () => Promise<number>): Promise<Cost>;
}

/**
 * Makes a meter for a cluster.
 *
 * Processor time of the server is what the kernel counted for its processes, the WAL writer among them: those that are
 * alive, and by way of the postmaster those that have ended. Linux only; elsewhere it is not known.
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
      // What was committed without waiting for the disk is the same work's, but after its time.
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

/** A transaction that waits for the disk, and so for all that was written before it. */
async function flush(admin: Sql): Promise<void> {
  await admin.begin(async (tx) => {
    await tx`set local synchronous_commit = on`;
    await tx`select pg_logical_emit_message(true, 'benchmark', '')`;
  });
}

/** USER_HZ, in which /proc counts: 100 on every platform that the server is made for. */
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

/** @returns undefined when the process has ended meanwhile */
async function readStat(pid: string): Promise<ProcessStat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // proc(5): the name, which may hold anything, ends at the last parenthesis; the state is the field after it.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return undefined;
  const ticks = (index: number) => Number(fields[index] ?? 0);
  return { pid, parent: fields[1], own: ticks(11) + ticks(12), ofEnded: ticks(13) + ticks(14) };
}
