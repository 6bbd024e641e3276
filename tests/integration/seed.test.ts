import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { tellShop } from "../../scripts/lib/demo/shop.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openTestStore } from "../support/event-store.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { jsonContract } from "../unit/contracts.ts";

interface Seeded {
  readonly events: number;
  readonly appended: number;
}

const seedOf = (database: TestDatabase, ...words: string[]) =>
  runForData<Seeded>(["seed", "--database", database.name, ...words], database);

async function readLog({ sql }: TestDatabase): Promise<readonly string[]> {
  const rows = await sql<{ event: string }[]>`
    select concat_ws(' ', event_id, aggregate_type, aggregate_key, aggregate_version, event_type, event_data,
      metadata, causation_id, correlation_id) as event
    from event_store.domain_event join event_store.event_stream using (stream_id) order by global_position`;
  return rows.map(({ event }) => event);
}

test("seed appends the demo once, in its order, and a longer one continues it", async () => {
  await using database = await withDatabase();
  const seeded = await seedOf(database);
  assert.deepEqual(Object.keys(seeded), jsonContract.seed);
  assert.deepEqual(pick(seeded), { events: 500, appended: 500 });
  assert.deepEqual(pick(await seedOf(database)), { events: 500, appended: 0 });
  const first = await readLog(database);
  const [placed] = await database.sql`
    select count(*)::integer as orders, count(distinct placed_at::date) > 4 as "isWeek" from read_model.order_summary`;
  assert.deepEqual(placed, { orders: first.filter((event) => event.includes(" OrderPlaced ")).length, isWeek: true });
  assert.deepEqual(pick(await seedOf(database, "--events", "700")), { events: 700, appended: 200 });

  const log = await readLog(database);
  assert.deepEqual(log.slice(0, 500), first);
  const story = tellShop("1");
  for (const event of log) assert.ok(event.startsWith(story.next().value.event.id));

  await using other = await withDatabase();
  await seedOf(other, "--events", "700");
  assert.deepEqual(await readLog(other), log);
  await using different = await withDatabase();
  await seedOf(different, "--events", "700", "--rng", "mine");
  assert.notDeepEqual(await readLog(different), log);
});

test("a killed seed is continued, and two at a time append the same log as one", async () => {
  await using reference = await withDatabase();
  await seedOf(reference, "--events", "5000");
  const log = await readLog(reference);
  for (let round = 0; round < testRounds(1); round++) {
    await using database = await withDatabase();
    const words = ["seed", "--database", database.name, "--events", "5000"];
    const killed = startScript(words, database);
    const [count] = [500 * (1 + Math.floor(Math.random() * 8))];
    while ((await readLog(database)).length < count) await sleep(5);
    killed.kill("SIGKILL");
    await killed.ended;
    const found = await readLog(database);
    assert.deepEqual(found, log.slice(0, found.length), "a killed run leaves the beginning of the log");
    const runs = await Promise.all([1, 2].map(() => runScript(words, database)));
    for (const { exitCode, stderr } of runs) assert.equal(exitCode, 0, stderr);
    assert.deepEqual(await readLog(database), log);
  }
});

test("seed refuses a log that has other events of its streams, and says so", async () => {
  await using database = await withDatabase();
  await using store = openTestStore(database);
  await appendEvents(store, { type: "Order", id: "order-3" }, [{ type: "OrderPlaced", data: {} }]);
  const { exitCode, stderr } = await runScript(["seed", "--database", database.name], database);
  assert.equal(exitCode, 8, stderr);
  assert.match(stderr, /^error: The demo conflicts with the events of Order order-3$/m);
  assert.match(stderr, /^ {2}why: StreamExists: .* The batch with its event was rolled back\.$/m);
  assert.match(stderr, /^ {2}fix: Seed a database .* after bun run reset\.$/m);
  assert.equal((await readLog(database)).length, 1);
});

test("a long seed shows how far it is, and --quiet does not", async () => {
  await using database = await withDatabase();
  const words = ["seed", "--database", database.name, "--events", "20000"];
  const started = startScript(words, database);
  await started.saw(" of 20000 events, ");
  started.kill("SIGINT");
  const { exitCode, stderr } = await started.ended;
  assert.equal(exitCode, 130);
  assert.match(stderr, /^seed {2}\d+ of 20000 events, \d+\/s$/m);
  const quiet = await runScript(["seed", "--database", database.name, "--quiet"], database);
  assert.equal(quiet.stderr, "");
});

function pick({ events, appended }: Seeded): Seeded {
  return { events, appended };
}
