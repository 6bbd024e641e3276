import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { type Connection, openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import type { CheckedItem } from "../../scripts/lib/verify/check.ts";
import { proveSurvival } from "../../scripts/lib/verify/restart.ts";
import { allChecks, type Verification } from "../../scripts/lib/verify/verify.ts";
import { append } from "../support/append.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { bootstrapTestStack, openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";
import { findCheck, passes } from "../support/verify.ts";
import { checkContract, jsonContract } from "../unit/contracts.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
  await using application = openConnection(await stack.application());
  for (let count = 0; count < 5; count++) await append(application.sql, {});
});
after(() => stack[Symbol.asyncDispose]());

async function administrator(): Promise<Connection> {
  return openConnection(await stack.administrator());
}

test("each check has a test in which it fails", async () => {
  const folder = join(assetsDir, "tests/integration");
  const names = (await readdir(folder)).filter((name) => name.startsWith("verify-"));
  const sources = (await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")))).join("\n");
  for (const { id } of allChecks) {
    const pattern = new RegExp(`(fails\\(|\\[)\\s*"${id}",|test\\("${id} fails `);
    assert.ok(pattern.test(sources), `a test in which ${id} fails`);
  }
});

test("scripts/README.md describes the checks in their order, and infrastructure/README.md names each", async () => {
  const [reference, checklist] = await Promise.all(
    ["scripts/README.md", "infrastructure/README.md"].map((file) => readFile(join(assetsDir, file), "utf8")),
  );
  const rows = [...(reference ?? "").matchAll(/^\| +(\d+)\. \| `([a-z-]+)` +\|/gm)].map(([, number, id]) => [
    Number(number),
    id,
  ]);
  assert.deepEqual(
    rows,
    allChecks.map(({ id }, index) => [index + 1, id]),
  );
  const [, section = ""] = (checklist ?? "").split("\n## Verification\n");
  for (const { id } of allChecks) assert.ok(section.includes(`\`${id}\``), id);
});

test("verify prints a numbered list with evidence, and --json the same as one object", async () => {
  const text = await runScript(["verify"], stack);
  assert.equal(text.exitCode, 0, text.stdout + text.stderr);
  const lines = text.stdout.trimEnd().split("\n");
  assert.equal(lines.length, allChecks.length);
  assert.match(lines[0] ?? "", /^ 1\. ok {6}The server is up and reachable on its port: 127\.0\.0\.1:\d+ accepted/);
  assert.match(
    lines.at(-1) ?? "",
    /^23\. skipped The data survives a restart: not checked: only bun run verify --restart/,
  );

  const data = await runForData<Verification>(["verify"], stack);
  assert.deepEqual(Object.keys(data), [...jsonContract.verification]);
  for (const item of data.checks) assert.deepEqual(Object.keys(item), [...jsonContract.verificationCheck]);
  assert.deepEqual(
    data.checks.map(({ number, id }) => [number, id]),
    checkContract.map((id, index) => [index + 1, id]),
  );
  assert.equal(data.ok, true);
  for (const { result, evidence, why, fix } of data.checks) {
    assert.ok(["ok", "skipped"].includes(result) && evidence !== "" && !evidence.includes("\n"));
    assert.deepEqual([why, fix], [null, null]);
  }
});

test("a failed check exits with 11, has a reason and a fix, and the others are still reported", async () => {
  await using admin = await administrator();
  await admin.sql`alter database cqrs_db set synchronous_commit = off`;
  const [text, json] = [await runScript(["verify"], stack), await runScript(["verify", "--json"], stack)];
  await admin.sql`alter database cqrs_db reset synchronous_commit`;
  assert.deepEqual([text.exitCode, json.exitCode], [11, 11]);
  assert.match(
    text.stdout,
    /^ 8\. failed {2}A commit survives a crash: .*\n +why: synchronous_commit of the database is off: .*\n +fix: Set /m,
  );
  assert.match(text.stderr, /^error: 1 of 23 checks failed: durability\n {2}fix: Set /m);
  const { ok, error, data } = JSON.parse(json.stdout) as {
    readonly ok: boolean;
    readonly error: { readonly code: string; readonly message: string };
    readonly data: Verification;
  };
  assert.deepEqual([ok, error.code, data.ok], [false, "VERIFICATION", false]);
  assert.deepEqual(
    data.checks.filter(({ result }) => result === "failed").map(({ id }: CheckedItem) => id),
    ["durability"],
  );
});

test("verify writes nothing: no transaction id, no position, no file, no line with an error in the server's log", async () => {
  await using admin = await administrator();
  // It writes statistics, at any time.
  for (const statement of ["alter system set autovacuum = off", "select pg_reload_conf()"])
    await admin.sql.unsafe(statement);
  const log = (await findLog()) ?? "";
  const before = { ...(await readState(admin.sql)), files: await listFiles() };
  const errors = countErrors(await readFile(log, "utf8"));
  await passes(stack);
  assert.equal((await runScript(["verify"], stack)).exitCode, 0);
  assert.deepEqual({ ...(await readState(admin.sql)), files: await listFiles() }, before);
  assert.equal(countErrors(await readFile(log, "utf8")), errors);
  await admin.sql`alter system reset autovacuum`;
});

/** A statement that writes needs a transaction id. Reading a snapshot's end does not. */
async function readState(sql: Sql): Promise<object> {
  const [row] = await sql`
    select pg_snapshot_xmax(pg_current_snapshot())::text as next_transaction,
      (select concat(last_value, is_called) from event_store.domain_event_global_position) as drawn,
      (select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_all_tables) as changed,
      pg_notification_queue_usage() as notifications`;
  return { ...row };
}

async function findLog(): Promise<string | undefined> {
  return /^(.*?), /.exec(findCheck(await passes(stack), "logs").evidence)?.[1];
}

function countErrors(log: string): number {
  return log.split("\n").filter((line) => /ERROR|FATAL/.test(line)).length;
}

/** Everything that belongs to the stack, except what the server writes. */
async function listFiles(): Promise<string[]> {
  const names = (await readdir(stack.stackDir, { recursive: true })).filter(
    (name) => !name.startsWith("postgres/data/"),
  );
  const facts = names.map(async (name) => `${name} ${(await stat(join(stack.stackDir, name))).mtimeMs}`);
  return (await Promise.all(facts)).toSorted();
}

test("verify --restart asks first, then proves that the log is the same after a restart", async () => {
  await using admin = await administrator();
  const before = await readStart(admin.sql);
  const refused = await runScript(["verify", "--restart"], stack);
  assert.equal(refused.exitCode, 8, refused.stderr);
  assert.match(refused.stderr, /^error: Nothing was restarted\n.*restarts: PostgreSQL on port \d+, which ends 1 sess/s);
  assert.equal(await readStart(admin.sql), before);

  const { checks } = await runForData<Verification>(["verify", "--restart", "--yes"], stack);
  const { result, evidence } = checks.at(-1) as CheckedItem;
  assert.equal(result, "ok");
  assert.match(evidence, /^5 events up to position 5, restarted at 20\d\d-/);
  await using after = await administrator();
  assert.notEqual(await readStart(after.sql), before);
});

async function readStart(sql: Sql): Promise<string> {
  return (await sql`select pg_postmaster_start_time()::text as started`)[0]?.["started"] as string;
}

const triggers = ["domain_event_is_immutable", "domain_event_is_redacted_openly", "domain_event_keeps_its_place"];

test("restart fails if an event is lost or changed meanwhile, or if nothing was restarted", async () => {
  const opened = await openTestStack(stack.stackDir);
  const change = async (statement: string) => {
    await using admin = await administrator();
    await admin.sql
      .unsafe(`begin; ${triggers.map((name) => `alter table event_store.domain_event disable trigger ${name}`).join("; ")};
        ${statement};
        ${triggers.map((name) => `alter table event_store.domain_event enable always trigger ${name}`).join("; ")}; commit`)
      .simple();
  };
  const restarted = (statement: string) =>
    proveSurvival(opened, silentRun, async () => {
      await change(statement);
      await runForData(["stop"], stack);
      await bootstrapTestStack(stack.stackDir);
    });
  const changed = await restarted("update event_store.domain_event set event_data = '{}' where global_position = 2");
  assert.deepEqual([changed.result, changed.why], ["failed", "the events differ from those before the restart"]);
  const lost = await restarted("delete from event_store.domain_event where global_position = 5");
  assert.match(lost.why ?? "", /^there are 4 events after the restart\n/);
  const skipped = await proveSurvival(opened, silentRun, async () => {});
  assert.equal(skipped.why, "The server was not restarted.");
});

test("a server that does not come back after a restart is reported with its own exit code", async () => {
  await using admin = await administrator();
  await admin.sql.unsafe("alter system set shared_preload_libraries = 'none_such'");
  const run = await runScript(["verify", "--restart", "--yes"], stack);
  assert.equal(run.exitCode, 3, run.stderr);
  assert.match(run.stderr, /^error: PostgreSQL 16\.\d+, run as .*, exited during startup$/m);
  const stopped = await runScript(["verify", "--json"], stack);
  assert.equal(stopped.exitCode, 3);
  assert.equal((JSON.parse(stopped.stdout) as { error: { code: string } }).error.code, "NOT_RUNNING");
});
