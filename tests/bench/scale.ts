// What an event costs to store in a store of 5,000,000, compared with an empty one: `bun run bench scale [rounds]`. It
// takes 2 to 7 min to fill, 30 s per round, and 6 GB of disk.
//
// Each caller creates a stream, appends to it until it has ten events, and creates the next. It does the same in an
// empty store that is new in each round. In the large store it also appends to existing streams chosen at random.
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { alternate, type Variant } from "../support/benchmark.ts";
import type { Cost } from "../support/benchmark-cost.ts";
import { reportCosts } from "../support/benchmark-report.ts";
import { fillStore } from "../support/fill-store.ts";
import { type AppendLoad, makeCallers, runLoad } from "./append.ts";
import { type BenchCluster, type BenchDatabase, openBenchCluster } from "./cluster.ts";
import type { Stream } from "./events.ts";
import { openOursSql } from "./stores/ours.ts";

const storedEvents = 5_000_000;

const loads: readonly AppendLoad[] = [
  { callers: 4, connections: 4, eventsPerAppend: 1, appendsPerCaller: 1_500, streamsPerCaller: 150 },
  { callers: 4, connections: 4, eventsPerAppend: 10, appendsPerCaller: 500, streamsPerCaller: 500 },
];

const empty = "empty, new streams";
const large = "large, new streams";
const largeAtRandom = "large, its streams at random";

/** Prints the cost of an append with 5,000,000 stored events and with none. */
export async function benchmarkScale(rounds: number): Promise<void> {
  await using cluster = await openBenchCluster();
  await cluster.configure({ synchronous_commit: "off" });
  const database = await cluster.makeDatabase("ours");
  await using admin = openConnection(database.administrator);
  const startedAt = performance.now();
  await fillStore(admin.sql, storedEvents);
  await admin.sql`vacuum (analyze)`;
  console.log(`stored ${storedEvents} events in ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
  for (const load of loads) await benchmarkLoad(cluster, database, admin.sql, load, rounds);
}

async function benchmarkLoad(
  cluster: BenchCluster,
  database: BenchDatabase,
  admin: Sql,
  load: AppendLoad,
  rounds: number,
): Promise<void> {
  const measure = async (where: BenchDatabase, callers: readonly Stream[][]) => {
    await using store = openOursSql(where, load.connections);
    await runLoad(store, makeCallers(load), { ...load, appendsPerCaller: 100 });
    return await cluster.meter.measure(() => runLoad(store, callers, load));
  };
  const variants: Variant<Cost>[] = [
    { name: empty, measure: async () => measure(await cluster.makeDatabase("ours"), makeCallers(load)) },
    { name: large, measure: () => measure(database, makeCallers(load)) },
    { name: largeAtRandom, measure: async () => measure(database, await chooseStreams(admin, load)) },
  ];
  reportCosts({
    title: `scale: ${load.eventsPerAppend} per call, ${load.callers} callers, large is ${storedEvents} events`,
    measured: await alternate(variants, rounds),
    reference: empty,
    aims: [large, largeAtRandom].map((of) => ({ figure: "serverMicroseconds", of, against: empty, atMost: 1.3 })),
  });
}

/** @returns one stream for each append of the load */
async function chooseStreams(admin: Sql, { callers, appendsPerCaller }: AppendLoad): Promise<Stream[][]> {
  const rows = await admin<Stream[]>`
    select aggregate_type as type, aggregate_id as id, version
    from event_store.event_stream
    order by random()
    limit ${callers * appendsPerCaller}`;
  return Array.from({ length: callers }, (_, caller) =>
    rows.slice(caller * appendsPerCaller, (caller + 1) * appendsPerCaller).map((row) => ({ ...row })),
  );
}
