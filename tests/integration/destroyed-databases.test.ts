import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import type { DestructionPlan } from "../../scripts/lib/operations/destroy.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { append as appendEvent } from "../support/append.ts";
import { runScript, startScript } from "../support/run-script.ts";
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

test("destroy runs nothing that the owner of another database has put in place of the tables", async () => {
  await using stack = await withCluster();
  const administrator = await stack.administrator();
  const tables = ["event_stream", "domain_event"];
  const steal = `create function public.steal() returns int language plpgsql as
    $$begin execute 'set role none'; execute 'alter role dev superuser'; return 1; end$$`;
  const places = [
    [...tables.map((name) => `create view event_store.${name} as select public.steal() as id`)],
    ["create table event_store.event_stream (id int)", "create view event_store.domain_event as select public.steal()"],
    [...tables.map((name) => `create materialized view event_store.${name} as select public.steal() with no data`)],
  ];
  await using server = openConnection(administrator);
  await server.sql`create role dev login password 'dev-password'`;
  for (const [index, statements] of places.entries()) {
    await server.sql.unsafe(`create database dev${index} owner dev`);
    await using dev = openConnection({
      ...administrator,
      database: `dev${index}`,
      user: "dev",
      password: "dev-password",
    });
    for (const statement of ["create schema event_store", steal, ...statements]) await dev.sql.unsafe(statement);
  }
  const refused = await runScript(["destroy"], stack);
  assert.equal(refused.exitCode, 8, refused.stderr);
  assert.match(refused.stderr, /^ {9}dev0 \(.* MB, no event store\)$/m);
  assert.match(refused.stderr, /^ {9}cqrs_db \(.* MB, events: 0, streams: 0\)$/m);
  const [dev] = await server.sql`select rolsuper from pg_roles where rolname = 'dev'`;
  assert.equal(dev?.["rolsuper"], false);
});

test("Ctrl-C ends destroy while it counts, and a count that takes too long is reported", async () => {
  await using stack = await withCluster();
  await using other = openConnection(await stack.administrator(), { max: 2 });
  await other.sql.begin(async (tx) => {
    await tx`lock table event_store.domain_event in access exclusive mode`;
    const late = await runScript(["destroy", "--timeout", "500ms"], stack);
    assert.match(late.stderr, /cqrs_db \(.* MB, rows not counted: counting them took longer than --timeout\)$/m);
    const running = startScript(["destroy"], stack);
    await running.saw("counting the events of cqrs_db");
    const backend = await pollUntil(() => findWaiting(other.sql), { timeoutMs: 10_000, intervalMs: 20 });
    assert.ok(backend);
    process.kill(backend, "SIGSTOP");
    try {
      running.kill("SIGINT");
      const { exitCode, stderr } = await running.ended;
      assert.equal(exitCode, 130, stderr);
      assert.doesNotMatch(stderr, /deletes/);
    } finally {
      process.kill(backend, "SIGCONT");
    }
  });
});

async function findWaiting(sql: Sql): Promise<number | undefined> {
  const [row] = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity
    where application_name = 'cqrs-postgres destroy' and wait_event_type = 'Lock'`;
  return row?.pid;
}

async function append(stack: TestStack): Promise<void> {
  await using application = openConnection(await stack.application());
  await appendEvent(application.sql, {});
}
