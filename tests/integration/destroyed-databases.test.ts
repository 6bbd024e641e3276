import assert from "node:assert/strict";
import { test } from "node:test";
import type { DestructionPlan } from "../../scripts/lib/operations/destroy.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { append as appendEvent } from "../support/append.ts";
import { runScript } from "../support/run-script.ts";
import { bootstrapTestStack, type TestStack, withCluster } from "../support/stack.ts";

test("destroy counts every database of the server", async () => {
  await using stack = await withCluster();
  await append(stack);
  await bootstrapTestStack(stack.stackDir, { database: "other" });
  for (let event = 0; event < 2; event++) await append(stack);
  await using administrator = openConnection(await stack.administrator());
  const { sql } = administrator;
  await sql`create database plain`;
  await sql`create database closed allow_connections false`;
  const refused = await runScript(["destroy", "--json"], stack);
  const { plan } = (JSON.parse(refused.stdout) as { data: { plan: DestructionPlan } }).data;
  const counted = plan.databases?.map(({ name, events, uncounted }) => [name, events, uncounted]);
  assert.deepEqual(counted, [
    ["other", 2, null],
    ["closed", null, "it accepts no connections"],
    ["cqrs_db", 1, null],
    ["plain", null, null],
  ]);
  assert.deepEqual([plan.events, plan.uncounted], [null, "closed: it accepts no connections"]);
  await sql`drop database closed`;
  await using other = openConnection(await stack.administrator());
  await other.sql.begin(async (tx) => {
    await tx`lock table event_store.domain_event in access exclusive mode`;
    const locked = await runScript(["destroy"], stack);
    assert.match(locked.stderr, /^ {9}other \(.* MB, rows not counted: the database cannot be read \(55P03\)\)$/m);
    assert.match(locked.stderr, /^ {9}cqrs_db \(.* MB, events: 1, streams: 1\)$/m);
    assert.match(locked.stderr, /^ {9}plain \(.* MB, no event store\)$/m);
  });
});

async function append(stack: TestStack): Promise<void> {
  await using application = openConnection(await stack.application());
  await appendEvent(application.sql, {});
}
