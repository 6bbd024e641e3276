// What an event costs to store: `bun run bench append [rounds]`. About 45 s per round after a warm-up of 45 s.
//
// All stores get the same events, each in its own database of one cluster, and check the expected version (the limits
// have nothing to check). Each caller has its own streams, and waits for one append before the next.
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
  /** Most connections in each store's pool. */
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

/** Prints the cost per store of appends of 1, 10 and 100 events, and of 32 concurrent callers. */
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
  // For a single row, COPY is slower than INSERT.
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
 * Runs all callers concurrently. Each appends to its streams in turn.
 *
 * @returns the number of events appended
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
  return `append: ${events} per call, ${callers} callers, ${connections} connections, synchronous_commit ${synchronousCommit}`;
}
