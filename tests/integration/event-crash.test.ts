import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { checkJournal, journal } from "../support/projection.ts";
import { type StartedScript, startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { bootstrapTestStack, type TestStack, withCluster } from "../support/stack.ts";

/** Two in a normal run, 20 in a soak. */
const rounds = testRounds(2);

test("kill -9 of the server and of clients under load loses, repeats and reorders no acknowledged event", async () => {
  await using stack = await withCluster();
  const acknowledged: string[] = [];
  for (let round = 0; round < rounds; round++) {
    acknowledged.push(...(await appendUntilKilled(stack, round % 2 === 0)));
    await bootstrapTestStack(stack.stackDir);
    await using store = openEventStore(await stack.application());
    await assertStored(store, acknowledged);
  }
  assert.ok(acknowledged.length >= 200 * rounds);
  await using store = openEventStore(await stack.application());
  assert.equal(await project(store, { ...journal("crash"), stopWhenCaughtUp: true }), "caught-up");
  await checkJournal(store, "crash");
});

/**
 * Runs two clients that append and a projection, then kills them all: the server first, or a client first.
 *
 * @returns the ids of the acknowledged events
 */
async function appendUntilKilled(stack: TestStack, isServerFirst: boolean): Promise<string[]> {
  const target = JSON.stringify(await stack.application());
  const clients = [0, 1].map(() => startProgram("tests/support/fixtures/append-orders.ts", [target]));
  const options = JSON.stringify({ leaseMs: 500, batchSize: 20 });
  const projection = startProgram("tests/support/fixtures/run-projection.ts", ["crash", target, options]);
  await Promise.all([...clients.map(enough), projection.saw("handled")]);
  const killClients = () => {
    for (const { child } of [...clients, projection]) child.kill("SIGKILL");
  };
  if (!isServerFirst) killClients();
  await killServer(stack);
  if (isServerFirst) killClients();
  await projection.ended;
  const outputs = await Promise.all(clients.map(({ ended }) => ended));
  // The last line may be incomplete: the client was killed while it wrote.
  return outputs.flatMap(({ stdout }) => stdout.split("\n").slice(0, -1));
}

async function enough({ child }: StartedScript): Promise<void> {
  let lines = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.stdout?.on("data", (text: string) => {
    lines += text.split("\n").length - 1;
    if (lines >= 120) resolve();
  });
  child.on("close", () => reject(new Error("the client ended by itself")));
  await promise;
}

async function killServer(stack: TestStack): Promise<void> {
  const postmaster = await findPostmaster(stack.dataDir);
  assert.equal(postmaster.state, "running");
  process.kill(postmaster.pid, "SIGKILL");
  while (isAlive(postmaster.pid)) await sleep(5);
}

async function assertStored({ sql }: EventStore, ids: readonly string[]): Promise<void> {
  const [found] = await sql<{ events: number; gaps: number; behind: number }[]>`
    select
      (select count(*)::int from event_store.domain_event where event_id = any (${`{${ids.join()}}`}::text::uuid[])) as events,
      (
        select count(*)::int from (
          select from event_store.domain_event group by stream_id
          having min(aggregate_version) <> 1 or max(aggregate_version) <> count(*)
        ) as stream
      ) as gaps,
      (
        select count(*)::int from event_store.event_stream as stream
        where version <> (select count(*) from event_store.domain_event as event where event.stream_id = stream.stream_id)
      ) as behind`;
  assert.deepEqual(found, { events: ids.length, gaps: 0, behind: 0 });
}
