import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import type { BackupResult } from "../../scripts/lib/backup/create.ts";
import type { RestoreResult } from "../../scripts/lib/backup/restore.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { append, placed } from "../support/append.ts";
import { withArchives } from "../support/archive.ts";
import { readContent } from "../support/oracle.ts";
import { copyProject } from "../support/project-copy.ts";
import { startProgram } from "../support/run-script.ts";
import { failure } from "../support/schema-folder.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";
import { jsonContract } from "../unit/contracts.ts";

test("restore creates a database that is equal in every row, sequence and object, even with unusual content", async () => {
  await using project = await copyProject();
  await using stack = await makeTestStack();
  const migration = join(project.dir, "sql/migrations/9000-awkward.sql");
  await copyFile(join(assetsDir, "tests/support/fixtures/awkward.sql"), migration);
  const run = <Data>(words: readonly string[]) => runInProject<Data>(project.dir, stack, words);
  await run(["bootstrap"]);
  await fillWithEvents(stack);
  const before = await contentOf(stack);
  const backup = await run<BackupResult>(["backup"]);
  assert.deepEqual(Object.keys(backup), jsonContract.backup);
  const restore = await run<RestoreResult>(["restore", "latest", "--yes"]);
  assert.deepEqual(Object.keys(restore), jsonContract.restore);
  const { isRestored, kept } = restore;
  assert.equal(isRestored, true);
  assert.deepEqual(await contentOf(stack), before);
  assert.deepEqual(await contentOf(stack, kept ?? ""), before);
  await assertSameDump(stack, kept ?? "");
  await appendAsApplication(stack);
});

test("restore restores the state of the archive, and the next append gets a higher position", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id, events: [placed, placed] });
  const before = await readContent(database.admin);
  const { lastPosition } = await archives.backUp();
  await append(database.sql, { id, events: [placed] });
  await archives.restore();
  assert.deepEqual(await readContent(database.admin), before);
  await append(database.sql, { id, expected: 2 });
  const [row] = await database.sql<{ position: bigint }[]>`
    select max(global_position) as position from event_store.domain_event`;
  assert.ok((row?.position ?? 0n) > BigInt(lastPosition));
});

test("restore --dry-run changes nothing, and neither does a restore that is not confirmed", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  await append(archives.database.sql, {});
  const before = await readContent(archives.database.admin);
  assert.equal((await archives.restore({ dryRun: true })).isRestored, false);
  await assert.rejects(archives.restore({ confirm: () => Promise.reject(new Error("no")) }), /^Error: no$/);
  assert.deepEqual(await readContent(archives.database.admin), before);
});

test("restore --into creates another database, and refuses one that is not empty", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  await append(database.sql, {});
  const before = await readContent(database.admin);
  await archives.backUp();
  const into = `${database.name}_copy`;
  try {
    await archives.restore({ into });
    await using copy = openConnection({ ...database.administrator, database: into });
    assert.deepEqual(await readContent(copy.sql), before);
    const error = await failure(archives.restore({ into }));
    assert.equal(error.code, "NOT_EMPTY");
    assert.equal(error.exitCode, 8);
    assert.deepEqual(await readContent(copy.sql), before);
  } finally {
    await database.admin.unsafe(`drop database if exists ${into} with (force)`);
  }
});

test("restore ends the sessions of applications, which reconnect to the restored database", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  await append(database.sql, {});
  await archives.backUp();
  await append(database.sql, {});
  const stop = new AbortController();
  const counts = countUntil(database.sql, stop.signal);
  await archives.restore();
  stop.abort();
  assert.deepEqual(new Set(await counts).difference(new Set([1, 2])), new Set());
  assert.equal(await countEvents(database.sql), 1);
});

test("restore --until-position and --until-time keep a prefix of the log, and streams that agree with it", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const [first, second] = [randomUUID(), randomUUID()];
  await append(database.sql, { id: first, events: [placed, placed] });
  await append(database.sql, { id: second });
  await append(database.sql, { id: first });
  const [cut] = await database.sql<{ position: bigint; time: Date }[]>`
    select global_position as position, occurred_at as time from event_store.domain_event order by 1 offset 1 limit 1`;
  await archives.backUp();
  for (const until of [
    { position: cut?.position ?? 0n },
    { time: cut?.time.toISOString().replace("Z", "999Z") ?? "" },
  ]) {
    await archives.restore({ until, onlyEventStore: true });
    const streams = await database.sql`select version, aggregate_id::text as id from event_store.event_stream`;
    assert.deepEqual([...streams], [{ version: 2, id: first }]);
    assert.equal(await countEvents(database.sql), 2);
    await append(database.sql, { id: first, expected: 2 });
  }
});

test("a restored redaction permits no later transaction to change its event", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  const id = randomUUID();
  await append(database.sql, { id });
  await database.admin`select event_store.redact_event('Order', ${id}, 1, 'asked for')`;
  // As if the archive came from a server whose transaction ids are far ahead.
  await database.admin
    .unsafe(`
    alter table event_store.redaction disable trigger redaction_is_immutable;
    update event_store.redaction set transaction_id = (pg_current_xact_id()::text::bigint + 1000000)::text::xid8;
    alter table event_store.redaction enable always trigger redaction_is_immutable`)
    .simple();
  await archives.backUp();
  await archives.restore();
  const [row] = await database.admin<{ isPast: boolean }[]>`
    select bool_and(transaction_id < pg_current_xact_id()) as "isPast" from event_store.redaction`;
  assert.equal(row?.isPast, true);
});

async function runInProject<Data>(dir: string, stack: TestStack, words: readonly string[]): Promise<Data> {
  const [name, ...args] = words;
  const env = { CQRS_STACK_DIR: stack.stackDir };
  const { ended } = startProgram(join(dir, `scripts/${name}.ts`), [...args, "--json"], { env, cwd: dir });
  const { exitCode, stdout, stderr } = await ended;
  assert.equal(exitCode, 0, stdout + stderr);
  return (JSON.parse(stdout) as { data: Data }).data;
}

/** Appends every character that JSON must escape, text that looks like COPY's escapes, and a large event. */
async function fillWithEvents(stack: TestStack): Promise<void> {
  await using application = openConnection(await stack.application());
  const characters = String.fromCharCode(...Array.from({ length: 255 }, (_, index) => index + 1));
  const text = `${characters}\\N\\.\\u0000 "quoted" 🎉 \u2028`;
  const data = [{ text }, { [text]: [null, true, 1e300, -0.5] }, { large: "x".repeat(1_000_000) }, { nul: "\\u0000" }];
  const events = data.map((event_data) => ({ event_type: `${text.slice(200)}'"`, event_data, metadata: event_data }));
  await append(application.sql, { type: `Type "of" ${text.slice(30, 90)}`, events });
  await append(application.sql, { events: [placed] });
}

async function contentOf(stack: TestStack, database?: string) {
  const target = await stack.administrator();
  await using administrator = openConnection({ ...target, database: database ?? target.database });
  return await readContent(administrator.sql);
}

/** Compares both schemas with pg_dump, if it is installed and not older than the server. */
async function assertSameDump(stack: TestStack, other: string): Promise<void> {
  const target = await stack.administrator();
  const { PATH = "" } = process.env;
  const env = { PATH, PGHOST: target.host, PGPORT: `${target.port}`, PGUSER: target.user, PGPASSWORD: target.password };
  const dump = (...args: string[]) => spawnSync("pg_dump", args, { env, encoding: "utf8" }).stdout ?? "";
  if (Number(/ (\d+)/.exec(dump("--version"))?.[1] ?? 0) < 16) {
    console.warn("not compared with pg_dump: there is none of version 16 or newer on the PATH");
    return;
  }
  const schemaOf = (name: string) => dump("--schema-only", name).replaceAll(/^\\(un)?restrict .*$/gm, "");
  assert.ok(schemaOf(other).includes("CREATE TABLE event_store.domain_event"));
  assert.equal(schemaOf(target.database), schemaOf(other));
}

async function appendAsApplication(stack: TestStack): Promise<void> {
  await using application = openConnection(await stack.application());
  await append(application.sql, {});
}

async function countUntil(sql: Parameters<typeof append>[0], signal: AbortSignal): Promise<number[]> {
  const seen: number[] = [];
  while (!signal.aborted) seen.push(await countEvents(sql).catch(() => 1));
  return seen;
}

async function countEvents(sql: Parameters<typeof append>[0]): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::int as count from event_store.domain_event`;
  return row?.count ?? 0;
}
