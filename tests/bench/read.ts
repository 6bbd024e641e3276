// What an event costs to read: `bun run bench read [rounds]`. About 1 min, plus 15 s per round.
//
// Each store has the same 200 streams of 1,000 events. One reader gets the data of each event as an object.
import { randomUUID } from "node:crypto";
import { logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import { openEventStore } from "../../scripts/lib/event-store/store.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { alternate } from "../support/benchmark.ts";
import { reportCosts } from "../support/benchmark-report.ts";
import { streamTypes } from "../support/fill-store.ts";
import { type BenchCluster, type BenchDatabase, openBenchCluster } from "./cluster.ts";
import { readByCursor } from "./cursor.ts";
import { makeEvents, type Stream } from "./events.ts";
import { openEmmett } from "./stores/emmett.ts";
import { openMessageDb } from "./stores/message-db.ts";
import { openOurs, openOursSql } from "./stores/ours.ts";
import { pageSize, type ReadableStore } from "./stores/store.ts";

const streamCount = 200;
const eventsPerStream = 1_000;
const eventsPerAppend = 100;
const streamsPerMeasure = 50;

/** Prints the cost of reading streams, and of reading the whole log. */
export async function benchmarkRead(rounds: number): Promise<void> {
  await using cluster = await openBenchCluster();
  await cluster.configure({ synchronous_commit: "off" });
  const ours = await cluster.makeDatabase("ours");
  await benchmarkStreams(cluster, ours, rounds);
  await benchmarkLog(cluster, ours, rounds);
}

async function benchmarkStreams(cluster: BenchCluster, ours: BenchDatabase, rounds: number): Promise<void> {
  await using typescript = openOurs(ours, 1);
  await using plain = openOursSql(ours, 1);
  await using emmett = await openEmmett(await cluster.makeDatabase("empty"), 1);
  await using messageDb = await openMessageDb(await cluster.makeDatabase("empty"), 1);
  const streams = makeStreams();
  for (const store of [plain, emmett, messageDb]) await fillStreams(store, streams);
  await cluster.vacuum();
  reportCosts({
    title: `read: streams of ${eventsPerStream} events, one after another`,
    measured: await alternate(
      [typescript, plain, emmett, messageDb].map((store) => ({
        name: store.name,
        measure: () => cluster.meter.measure(() => readStreams(store, streams)),
      })),
      rounds,
    ),
    reference: emmett.name,
    aims: [{ figure: "eventsPerSecond", of: typescript.name, against: emmett.name, atLeast: 1.7 }],
  });
}

async function benchmarkLog(cluster: BenchCluster, { application }: BenchDatabase, rounds: number): Promise<void> {
  await using connection = openConnection(application);
  await using store = openEventStore(application);
  const { sql } = connection;
  const readers: Readonly<Record<string, () => Promise<number>>> = {
    "ours, readAll()": () => countAll(readAll(store, { after: logStart, pageSize })),
    "ours, SQL read_all()": () => readPages(sql),
    "parsed cursor": () => readByCursor(sql),
  };
  reportCosts({
    title: `read: the log of all streams, ${streamCount * eventsPerStream} events`,
    measured: await alternate(
      Object.entries(readers).map(([name, read]) => ({ name, measure: () => cluster.meter.measure(read) })),
      rounds,
    ),
    reference: "parsed cursor",
    aims: [{ figure: "eventsPerSecond", of: "ours, readAll()", against: "parsed cursor", atLeast: 0.9 }],
  });
}

function makeStreams(): Stream[] {
  return Array.from({ length: streamCount }, (_, index) => ({
    type: streamTypes[index % streamTypes.length] as string,
    id: randomUUID(),
    version: 0,
  }));
}

/** Fills the streams in turns, as concurrent writers would. */
async function fillStreams(store: ReadableStore, streams: readonly Stream[]): Promise<void> {
  for (let version = 0; version < eventsPerStream; version += eventsPerAppend) {
    for (const stream of streams) await store.append({ ...stream, version }, makeEvents(eventsPerAppend));
  }
}

async function readStreams(store: ReadableStore, streams: readonly Stream[]): Promise<number> {
  let count = 0;
  for (const stream of streams.slice(0, streamsPerMeasure)) count += await store.readStream(stream);
  if (count !== streamsPerMeasure * eventsPerStream) throw new Error(`${store.name} read ${count} events`);
  return count;
}

async function countAll(events: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _event of events) count++;
  return count;
}

async function readPages(sql: Sql): Promise<number> {
  let count = 0;
  let after = 0n;
  for (;;) {
    const statement = "select * from event_store.read_all($1, $2)";
    const rows = await sql.unsafe<{ global_position: bigint }[]>(statement, [`${after}`, pageSize], { prepare: true });
    count += rows.length;
    if (rows.length < pageSize) return count;
    after = rows.at(-1)?.global_position ?? after;
  }
}
