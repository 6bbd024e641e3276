// Runs loads with the code of a checkout: `bun tests/bench/commit-loads.ts <folder> <server as JSON>`. Reads the index
// of a load per line, and answers with a line: the number of events and the CPU time of this process as JSON.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { streamTypes } from "../support/fill-store.ts";
import { makeEvents } from "./events.ts";

type Package = typeof import("../../scripts/lib/index.ts");

/** What a load did. */
export interface LoadResult {
  readonly events: number;
  /** CPU time of the process that ran it, in microseconds. */
  readonly clientMicroseconds: number;
}

/** The number of events in the log before the first append. */
export const filledEvents = 50_000;

/** What the loads do; each takes the server some hundred milliseconds. */
export const loadTitles = [
  "append: 1 event per call, 32 callers",
  "append: 10 events per call, 4 callers",
  "append in the caller's transaction, 4 callers",
  "read: the log",
  "project: the log, one statement per 10 events",
] as const;

async function main([folder = "", server = ""]: readonly string[]): Promise<void> {
  const code: Package = await import(pathToFileURL(join(folder, "scripts/lib/index.ts")).href);
  await using store = code.openEventStore({ ...JSON.parse(server), maxConnections: 4 });
  const loads: readonly (() => Promise<number>)[] = [
    () => appendConcurrently(32, 1, 400),
    () => appendConcurrently(4, 10, 600),
    () => appendInTransactions(4, 500),
    () => repeated(3, readLog),
    () => projectLog(),
  ];
  for await (const line of createInterface({ input: process.stdin })) {
    const before = process.cpuUsage();
    const events = (await loads[Number(line)]?.()) ?? 0;
    const { user, system } = process.cpuUsage(before);
    process.stdout.write(`${JSON.stringify({ events, clientMicroseconds: user + system } satisfies LoadResult)}\n`);
  }

  async function appendConcurrently(callers: number, eventsPerAppend: number, appends: number): Promise<number> {
    await eachCaller(callers, async (stream) => {
      for (let version = 0; version < appends * eventsPerAppend; version += eventsPerAppend) {
        await code.appendEvents(store, stream, makeEvents(eventsPerAppend), { expectedVersion: version });
      }
    });
    return callers * appends * eventsPerAppend;
  }

  async function appendInTransactions(callers: number, appends: number): Promise<number> {
    await eachCaller(callers, async (stream) => {
      for (let count = 0; count < appends; count++) {
        await store.sql.begin((transaction) => code.appendEvents(store, stream, makeEvents(1), { transaction }));
      }
    });
    return callers * appends;
  }

  async function readLog(): Promise<number> {
    let count = 0;
    for await (const _event of code.readAll(store, { pageSize: 1_000 })) {
      count++;
      if (count === filledEvents) break;
    }
    return count;
  }

  async function projectLog(): Promise<number> {
    let count = 0;
    const stop = new AbortController();
    await code.project(store, {
      name: `bench ${randomUUID()}`,
      version: 1,
      signal: stop.signal,
      async handle(events, tx) {
        for (let index = 0; index < events.length; index += 10) await tx`select ${index}::integer`;
        count += events.length;
        if (count >= filledEvents) stop.abort();
      },
    });
    return count;
  }
}

async function repeated(times: number, work: () => Promise<number>): Promise<number> {
  let count = 0;
  for (let time = 0; time < times; time++) count += await work();
  return count;
}

async function eachCaller(
  callers: number,
  work: (stream: { readonly type: string; readonly id: string }) => Promise<void>,
): Promise<void> {
  const type = streamTypes[0] as string;
  await Promise.all(Array.from({ length: callers }, () => work({ type, id: randomUUID() })));
}

if (import.meta.main) await main(process.argv.slice(2));
