import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import type { OrderEvent } from "../../scripts/lib/demo/events.ts";
import { orderSummary } from "../../scripts/lib/demo/order-summary.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { ProjectionRelations } from "../../scripts/lib/event-store/projection/definition.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { withDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";
import { runInBackground, untilHandled } from "../support/projection.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";
import { withCluster } from "../support/stack.ts";

/** How many orders the first 500 events of the demo are about. */
const demoOrders = 71;

const some = <Item>(items: readonly Item[]): Item => items[Math.floor(Math.random() * items.length)] as Item;

function randomEvent(): OrderEvent {
  return some<OrderEvent>([
    { type: "OrderPaid", data: { amountCents: Math.floor(Math.random() * 10_000) } },
    { type: "OrderShipped", data: { carrier: "DHL" } },
    { type: "OrderCancelled", data: { reason: "none" } },
  ]);
}

test("the order summary equals a fold of the log after a random load", async () => {
  await using database = await withDatabase();
  await using store = openTestStore(database);
  await using run = runInBackground(store, { ...orderSummary, partitions: 3, batchSize: 40 });
  const orders = Array.from({ length: 60 }, newOrder);
  const placed: OrderEvent = { type: "OrderPlaced", data: { customerId: randomUUID(), totalCents: 4_200 } };
  for (const order of orders) await appendEvents(store, order, [placed, randomEvent()]);
  let position = 0n;
  for (let round = 0; round < 10; round++) {
    const appends = orders.map(() => appendEvents(store, some(orders), [randomEvent(), randomEvent()]));
    for (const { lastPosition } of await Promise.all(appends)) if (lastPosition > position) position = lastPosition;
  }
  await untilHandled(store, orderSummary.name, position);
  await run.stop();

  const expected = new Map<string, { paid: number; status: string; version: number }>();
  for await (const event of readAll<OrderEvent>(store)) {
    const { paid = 0 } = expected.get(event.aggregate.id) ?? {};
    const amount = event.type === "OrderPaid" ? event.data.amountCents : 0;
    const status = event.type.replace("Order", "").toLowerCase();
    expected.set(event.aggregate.id, { paid: paid + amount, status, version: event.aggregateVersion });
  }
  const rows = await store.sql<{ id: string; paid: number; status: string; version: number }[]>`
    select order_id as id, paid_cents::integer as paid, status, version from read_model.order_summary`;
  assert.deepEqual(new Map([...rows].map(({ id, ...row }) => [id, row])), expected);
});

test("the order summary replaces that of version 1, whose ids were UUIDs", async () => {
  await using database = await withDatabase();
  await using store = openTestStore(database);
  const create: ProjectionRelations["create"] = (tx) => tx`create table order_summary (order_id uuid primary key)`;
  const relations = { names: ["order_summary"], create };
  const first = { ...orderSummary, version: 1, relations, handle: async () => {}, refresh: async () => {} };
  await project(store, { ...first, stopWhenCaughtUp: true });
  const placed: OrderEvent = { type: "OrderPlaced", data: { customerId: randomUUID(), totalCents: 4_200 } };
  await appendEvents(store, { type: "Order", id: "order-1" }, [placed]);
  assert.equal(await project(store, { ...orderSummary, stopWhenCaughtUp: true }), "caught-up");
  const rows = await store.sql`select order_id, status from read_model.order_summary`;
  assert.deepEqual([...rows], [{ order_id: "order-1", status: "placed" }]);
});

test("seed fills a database once; list, run, rebuild and replay work with it and with a module", async () => {
  await using stack = await withCluster();
  const demo = { set: "demo", file: null, events: 500 };
  assert.deepEqual(await runForData(["seed"], stack), { ...demo, appended: 500 });
  assert.deepEqual(await runForData(["seed"], stack), { ...demo, appended: 0 });
  await using session = openConnection(await stack.application());
  assert.equal(await count(session.sql, "read_model.order_summary"), demoOrders);
  const [days] = await session.sql`select sum(order_count)::integer as orders from read_model.order_day`;
  assert.deepEqual(days, { orders: demoOrders });

  const [listed] = (await runForData<{ projections: Record<string, unknown>[] }>(["projections", "list"], stack))
    .projections;
  const { name, version, status, lagEvents, lagSeconds, owner } = listed ?? {};
  assert.deepEqual([name, version, status, lagEvents, lagSeconds, owner], ["order_summary", 2, "serving", 0, 0, null]);
  const text = await runScript(["projections", "list"], stack);
  assert.match(text.stdout, /^projection +order_summary version 2, serving/);

  const refused = await runScript(["projections", "rebuild"], stack);
  assert.equal(refused.exitCode, 8);
  assert.match(
    refused.stderr,
    /Version 2 of the projection order_summary is already serving[\s\S]*Set its version to 3/,
  );

  const module = join(stack.stackDir, "mine.ts");
  const example = pathToFileURL(join(assetsDir, "scripts/lib/demo/order-summary.ts")).href;
  await writeFile(
    module,
    `import { orderSummary } from "${example}";\nexport const mine = { ...orderSummary, version: 3 };\n`,
  );
  const own = ["order_summary", "--module", module];
  const rebuilt = await runForData<{ projections: unknown[] }>(["projections", "rebuild", ...own], stack);
  assert.deepEqual(rebuilt.projections, [
    { name: "order_summary", version: 3, outcome: "caught-up", deadLetters: 0, replacedVersion: 2 },
  ]);
  assert.equal(await count(session.sql, "read_model.order_summary"), demoOrders);
  const replayed = await runForData<{ projections: unknown[] }>(["projections", "replay", ...own], stack);
  assert.deepEqual(replayed.projections, [{ name: "order_summary", replayed: 0, remaining: 0 }]);
  const once = await runScript(["projections", "run", "--once", "--json"], stack);
  assert.deepEqual(JSON.parse(once.stdout).data.projections, [
    { name: "order_summary", version: 2, outcome: "retired", deadLetters: 0 },
  ]);
  const replaced = await runScript(["projections", "run", "--once"], stack);
  assert.deepEqual(
    [replaced.exitCode, replaced.stdout],
    [13, "order_summary version 2: projects nothing; a later version has replaced it\n"],
  );
  const late = await runScript(["projections", "rebuild"], stack);
  assert.deepEqual(
    [late.exitCode, late.stdout],
    [13, "order_summary: version 2 is not serving; a later version has replaced it\n"],
  );
  const unknown = await runScript(["projections", "run", "other", "--module", module], stack);
  assert.equal(unknown.exitCode, 2);
  assert.match(unknown.stderr, /There is no projection other\n.*mine\.ts exports: order_summary\.\n/);
  assert.match(unknown.stderr, /^ {2}fix: Choose one of: order_summary\.$/m);

  const running = startScript(["projections", "run", ...own, "--partitions", "2"], stack);
  const isRunning = async () => (await count(session.sql, "read_model.projection", "version = 3")) === 2;
  while (!(await isRunning())) await new Promise((resolve) => setTimeout(resolve, 20));
  running.kill("SIGTERM");
  assert.equal((await running.ended).exitCode, 143);
});

test("projections and seed exit with 3 before the first bootstrap", async () => {
  for (const words of [["projections", "list"], ["seed"]]) {
    const run = await runScript(words, { stackDir: "/nonexistent/stack" });
    assert.equal(run.exitCode, 3, run.stderr);
  }
});

async function count(sql: Sql, table: string, condition = "true"): Promise<number> {
  const [row] = await sql.unsafe(`select count(*)::integer as count from ${table} where ${condition}`);
  return row?.["count"];
}
