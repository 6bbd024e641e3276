// What an event costs a projection that catches up: `bun run bench project [rounds]`. A minute for 5 rounds.
//
// The projection only counts its 200,000 events in memory. What is measured is the way to it: reading, partitioning,
// and the transaction of each batch with its checkpoint under the lease.
import { randomUUID } from "node:crypto";
import { logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { alternate } from "../support/benchmark.ts";
import { reportCosts } from "../support/benchmark-report.ts";
import { fillStore } from "../support/fill-store.ts";
import { openBenchCluster } from "./cluster.ts";
import { readByCursor } from "./cursor.ts";

const eventCount = 200_000;
const eventTypes = Array.from({ length: 8 }, (_, index) => `LineChanged${index}`);

/** Prints the cost of catching up, compared with reading the same events through a cursor. */
export async function benchmarkProject(rounds: number): Promise<void> {
  await using cluster = await openBenchCluster();
  const database = await cluster.makeDatabase("ours");
  await using admin = openConnection(database.administrator);
  await fillStore(admin.sql, eventCount);
  await admin.sql`vacuum (analyze)`;
  await using connection = openConnection(database.application);
  await using store = openEventStore(database.application);
  const readers: Readonly<Record<string, () => Promise<number>>> = {
    "ours, project()": () => catchUp(store),
    "ours, project(), types listed": () => catchUp(store, eventTypes),
    "ours, subscribe()": () => follow(store),
    "parsed cursor": () => readByCursor(connection.sql),
  };
  reportCosts({
    title: `project: catching up with ${eventCount} events`,
    measured: await alternate(
      Object.entries(readers).map(([name, read]) => ({ name, measure: () => cluster.meter.measure(read) })),
      rounds,
    ),
    reference: "parsed cursor",
    aims: [{ figure: "eventsPerSecond", of: "ours, project()", against: "parsed cursor", atLeast: 0.8 }],
  });
}

async function catchUp(store: EventStore, events?: readonly string[]): Promise<number> {
  let count = 0;
  await project(store, {
    name: `bench ${randomUUID()}`,
    version: 1,
    ...(events === undefined ? {} : { events }),
    stopWhenCaughtUp: true,
    async handle(batch) {
      count += batch.length;
    },
  });
  if (count !== eventCount) throw new Error(`${count} events were projected`);
  return count;
}

async function follow(store: EventStore): Promise<number> {
  let count = 0;
  for await (const { events } of subscribe(store, { after: logStart, batchSize: 1_000 })) {
    count += events.length;
    if (count >= eventCount) break;
  }
  return count;
}
