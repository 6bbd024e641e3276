// What an event costs to store: `bun run bench append [rounds]`; about 45 s a round and 45 s before, 5 min for 5 rounds.
//
// Every store has a database of its own in one cluster, gets the same events, and checks the version it expects (the
// limits have nothing to check). A caller waits for one append before it makes the next, and has streams of its own.
import { randomUUID } from "node:crypto";
import { alternate, type Variant } from "../support/benchmark.ts";
import type { Cost } from "../support/benchmark-cost.ts";
import { type Aim, reportCosts } from "../support/benchmark-report.ts";
import { streamTypes } from "../support/fill-store.ts";
import { type BenchCluster, openBenchCluster } from "./cluster.ts";
import { makeEvents, type Stream } from "./events.ts";
import { openEmmett } from "./stores/emmett.ts";
import { openCopy, openInsert } from "./stores/limit.ts";
import { openMessageDb } from "./stores/message-db.ts";
import { openOurs, openOursSql } from "./stores/ours.ts";
import { openSeed } from "./stores/seed.ts";
import type { MeasuredStore } from "./stores/store.ts";

/** How events are appended. */
export interface AppendLoad {
  readonly callers: number;
  /** Connections of each store's pool, at most. */
  readonly connections: number;
  readonly eventsPerAppend: number;
  readonly appendsPerCaller: number;
  readonly streamsPerCaller: number;
}

interface AppendBenchmark extends AppendLoad {
  readonly synchronousCommit: "on" | "off";
  readonly aims: readonly Aim[];
}

const walAim = { figure: "walBytes", of: "ours, TypeScript", against: "emmett", atMost: 1 } as const;

const benchmarks: readonly AppendBenchmark[] = [
  {
    callers: 32,
    connections: 10,
    eventsPerAppend: 1,
    appendsPerCaller: 200,
    streamsPerCaller: 20,
    synchronousCommit: "on",
    aims: [
      { figure: "eventsPerSecond", of: "ours, TypeScript", against: "emmett", atLeast: 5 },
      { figure: "eventsPerSecond", of: "ours, TypeScript", against: "message-db", atLeast: 4 },
      walAim,
    ],
  },
  {
    callers: 4,
    connections: 4,
    eventsPerAppend: 1,
    appendsPerCaller: 1_000,
    streamsPerCaller: 100,
    synchronousCommit: "off",
    aims: [walAim],
  },
  {
    callers: 4,
    connections: 4,
    eventsPerAppend: 10,
    appendsPerCaller: 500,
    streamsPerCaller: 100,
    synchronousCommit: "off",
    aims: [{ figure: "eventsPerSecond", of: "ours, TypeScript", against: "emmett", atLeast: 2 }, walAim],
  },
  {
    callers: 4,
    connections: 4,
    eventsPerAppend: 100,
    appendsPerCaller: 100,
    streamsPerCaller: 50,
    synchronousCommit: "off",
    aims: [
      { figure: "serverMicroseconds", of: "ours, TypeScript", against: "emmett", atMost: 0.8 },
      { figure: "eventsPerSecond", of: "ours, TypeScript", against: "limit, multi-row INSERT", atLeast: 0.8 },
      walAim,
    ],
  },
];

/** Prints what one event, ten and a hundred an append cost each store, and 32 callers at once. */
export async function benchmarkAppend(rounds: number): Promise<void> {
  await using cluster = await openBenchCluster();
  for (const benchmark of benchmarks) await benchmarkLoad(cluster, benchmark, rounds);
}

async function benchmarkLoad(cluster: BenchCluster, benchmark: AppendBenchmark, rounds: number): Promise<void> {
  await using stores = new AsyncDisposableStack();
  await cluster.configure({ synchronous_commit: benchmark.synchronousCommit });
  const variants: Variant<Cost>[] = [];
  for (const store of await openStores(cluster, benchmark)) {
    stores.use(store);
    const callers = makeCallers(benchmark);
    variants.push({
      name: store.name,
      measure: () => cluster.meter.measure(() => runLoad(store, callers, benchmark)),
    });
  }
  reportCosts({
    title: loadTitle(benchmark),
    measured: await alternate(variants, rounds),
    reference: "emmett",
    aims: benchmark.aims,
  });
}

async function openStores(cluster: BenchCluster, load: AppendLoad): Promise<MeasuredStore[]> {
  const { connections, eventsPerAppend } = load;
  const stores = [
    openOurs(await cluster.makeDatabase("ours"), connections),
    openOursSql(await cluster.makeDatabase("ours"), connections),
    await openEmmett(await cluster.makeDatabase("empty"), connections),
    await openMessageDb(await cluster.makeDatabase("empty"), connections),
    await openSeed(await cluster.makeDatabase("empty"), connections),
    await openInsert(await cluster.makeDatabase("ours"), connections),
  ];
  // For one row it takes longer than an insert.
  if (eventsPerAppend > 1) stores.push(await openCopy(await cluster.makeDatabase("ours"), connections));
  return stores;
}

/** @returns the streams of each caller, at version 0 */
export function makeCallers({ callers, streamsPerCaller }: AppendLoad): Stream[][] {
  return Array.from({ length: callers }, (_, caller) =>
    Array.from({ length: streamsPerCaller }, () => ({
      type: streamTypes[caller % streamTypes.length] as string,
      id: randomUUID(),
      version: 0,
    })),
  );
}

/**
 * Lets all callers append at once, each to its streams in turn.
 *
 * @returns how many events were appended
 */
export async function runLoad(store: MeasuredStore, callers: readonly Stream[][], load: AppendLoad): Promise<number> {
  await Promise.all(
    callers.map(async (streams) => {
      for (let append = 0; append < load.appendsPerCaller; append++) {
        const stream = streams[append % streams.length] as Stream;
        await store.append(stream, makeEvents(load.eventsPerAppend));
        stream.version += load.eventsPerAppend;
      }
    }),
  );
  return callers.length * load.appendsPerCaller * load.eventsPerAppend;
}

function loadTitle({ eventsPerAppend, callers, connections, synchronousCommit }: AppendBenchmark): string {
  const events = eventsPerAppend === 1 ? "1 event" : `${eventsPerAppend} events`;
  return `append: ${events} a call, ${callers} callers, ${connections} connections, synchronous_commit ${synchronousCommit}`;
}
