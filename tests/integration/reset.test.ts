import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointAfter } from "../../scripts/lib/event-store/checkpoint.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import { isLoopback } from "../../scripts/lib/operations/loopback.ts";
import { type ResetResult, resetDatabase } from "../../scripts/lib/operations/reset.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { withArchives } from "../support/archive.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, openTestStore, orderPlaced } from "../support/event-store.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";
import { runtimeCommand, testRounds } from "../support/runtime.ts";
import { silentRun } from "../support/stack.ts";
import { jsonContract } from "../unit/contracts.ts";

const words = ({ name }: TestDatabase, ...more: string[]) => ["reset", "--database", name, ...more];
const quick = ["--no-backup", "--yes"];

/** A session of the superuser in another database. */
async function openMaintenance({ administrator }: TestDatabase) {
  return openConnection({ ...administrator, database: "postgres" });
}

async function fill(database: TestDatabase): Promise<void> {
  await using store = openTestStore(database, { logger: false });
  await appendEvents(store, newOrder(), [orderPlaced, orderPlaced]);
}

async function countEvents(database: TestDatabase): Promise<number> {
  await using connection = openConnection(database.administrator);
  const [row] = await connection.sql`select count(*)::integer as count from event_store.domain_event`;
  return row?.["count"];
}

test("reset replaces the database by an empty one with the schema, and keeps its settings and privileges", async () => {
  await using database = await withDatabase();
  await fill(database);
  {
    await using maintenance = await openMaintenance(database);
    await maintenance.sql.unsafe(`
      alter database ${database.name} set work_mem = '7MB';
      alter database ${database.name} connection limit 17;
      comment on database ${database.name} is 'mine';
      grant create on database ${database.name} to cqrs_app;
      alter role cqrs_app in database ${database.name} set statement_timeout = '9s';
      create table if not exists public.unrelated ()`);
    await database.admin`create table command_model.mine ()`;
    await database.sql`create table read_model.rows ()`;
    await database.sql`insert into read_model.projection_version (name, version, partition_count, status)
      values ('mine', 1, 1, 'building')`;
  }
  const result = await runForData<ResetResult>(words(database, ...quick), database);
  assert.deepEqual(result, {
    isReset: true,
    database: database.name,
    events: 2,
    isEmpty: false,
    archive: null,
    kept: null,
    seeded: null,
  });
  assert.deepEqual(Object.keys(result), jsonContract.reset);
  await using connection = openConnection(database.administrator);
  const [row] = await connection.sql`
    select
      (select count(*)::integer from event_store.domain_event) as events,
      (select count(*)::integer from read_model.projection_version) as projections,
      to_regclass('command_model.mine') is null and to_regclass('read_model.rows') is null as "isClean",
      (select reason from event_store.log_epoch order by epoch_number desc limit 1) as epoch,
      event_store.safe_position()::integer as position,
      current_setting('work_mem') as "workMem",
      current_setting('search_path') as "searchPath",
      datconnlimit as "limit",
      pg_get_userbyid(datdba)::text as owner,
      shobj_description(oid, 'pg_database') as comment,
      has_database_privilege('cqrs_app', oid, 'CREATE') as "canCreate",
      has_database_privilege('public', oid, 'CONNECT') as "isPublic",
      (select setconfig::text from pg_db_role_setting where setdatabase = d.oid and setrole = 'cqrs_app'::regrole) as settings
    from pg_database as d where datname = current_database()`;
  assert.deepEqual(
    { ...row },
    {
      events: 0,
      projections: 0,
      isClean: true,
      epoch: "reset",
      position: 0,
      workMem: "7MB",
      searchPath: "command_model, read_model, event_store, public",
      limit: 17,
      owner: "cqrs_owner",
      comment: "mine",
      canCreate: true,
      isPublic: false,
      settings: "{statement_timeout=9s}",
    },
  );
  await using store = openTestStore(database);
  assert.equal((await appendEvents(store, newOrder(), [orderPlaced])).lastPosition, 1n);
});

test("after a reset, the checkpoint of a consumer outside the database is refused, and connected programs go on", async () => {
  await using database = await withDatabase();
  await using store = openTestStore(database, { logger: false });
  await appendEvents(store, newOrder(), [orderPlaced]);
  const [event] = await Array.fromAsync(readAll(store));
  assert.ok(event !== undefined);
  await runForData(words(database, ...quick), database);
  await appendEvents(store, newOrder(), [orderPlaced]);
  const read = Array.fromAsync(readAll(store, { after: checkpointAfter(event) }));
  await assert.rejects(read, { name: "LogRewound" });
});

test("reset backs up first, and a restore of that archive brings everything back", async () => {
  await using database = await withDatabase();
  await fill(database);
  const { archive, kept } = await runForData<ResetResult>(words(database, "--yes"), database);
  assert.ok(archive !== null);
  assert.equal(kept, null);
  assert.equal(await countEvents(database), 0);
  await runForData(["restore", archive, "--database", database.name, "--drop-old", "--yes"], database);
  assert.equal(await countEvents(database), 2);
});

test("reset keeps the replaced database if it was changed during the backup", async () => {
  await using archives = await withArchives();
  const { database, stack } = archives;
  await fill(database);
  let isChanged = false;
  const { kept } = await resetDatabase(
    stack,
    {
      backUp: true,
      isEmpty: false,
      allowRemote: false,
      confirm: async () => {},
      // Called while rows are copied, after the backup's snapshot was taken.
      onProgress() {
        if (!isChanged) appendInAnotherProcess(database);
        isChanged = true;
      },
    },
    silentRun,
  );
  assert.ok(isChanged && kept !== null);
  assert.equal(await countEvents(database), 0);
  await using connection = openConnection({ ...database.administrator, database: kept });
  const [row] = await connection.sql`select count(*)::integer as count from event_store.domain_event`;
  assert.equal(row?.["count"], 4);
  await connection[Symbol.asyncDispose]();
  const next = await runScript(words(database, ...quick), database);
  assert.match(
    next.stderr,
    new RegExp(`^kept by earlier runs: ${kept}; to drop them, run bun run restore --drop-old$`, "m"),
  );
  await runForData(["restore", "--drop-old", "--database", database.name, "--yes"], database);
});

function appendInAnotherProcess({ application }: TestDatabase): void {
  const [program = "", ...args] = runtimeCommand("tests/support/fixtures/append-once.ts");
  const { status } = spawnSync(program, [...args, JSON.stringify(application)], { stdio: "inherit" });
  assert.equal(status, 0);
}

test("reset --empty leaves no schema, and reset --seed seeds the new database", async () => {
  await using database = await withDatabase();
  await runForData(words(database, ...quick, "--empty"), database);
  const schemas = async () => {
    await using connection = openConnection(database.administrator);
    return (await connection.sql`select from pg_namespace where nspname = 'event_store'`).length;
  };
  assert.equal(await schemas(), 0);
  // Nothing can be lost, so it neither asks nor backs up.
  const { archive, seeded } = await runForData<ResetResult & { seeded: object }>(words(database, "--seed"), database);
  assert.deepEqual([archive, seeded], [null, { set: "demo", file: null, events: 500, appended: 500 }]);
  assert.equal(await countEvents(database), 500);
  const both = await runScript(words(database, "--seed", "--empty"), database);
  assert.match(both.stderr, /^error: --empty and --seed cannot be combined$/m);
  const alone = await runScript(words(database, "--set", "demo"), database);
  assert.match(alone.stderr, /^error: --set needs --seed$/m);
  const wrong = await runScript(words(database, "--seed", "--set", "none", ...quick), database);
  assert.equal(wrong.exitCode, 2);
  assert.match(wrong.stderr, /^error: There is no set "none"$/m);
  assert.equal(await countEvents(database), 500);
});

test("reset asks for the name of the database; without a terminal it shows the plan and refuses", async () => {
  await using database = await withDatabase();
  await fill(database);
  const refused = await runScript(words(database, "--no-backup"), database);
  assert.equal(refused.exitCode, 8);
  assert.match(refused.stderr, /^error: Nothing was reset$/m);
  assert.match(
    refused.stderr,
    new RegExp(`deletes: everything in ${database.name} on 127\\.0\\.0\\.1:\\d+ \\(events: 2\\)`),
  );
  assert.match(refused.stderr, /backs up first: no$/m);
  assert.match(refused.stderr, /fix: Run bun run reset --database \S+ --no-backup --yes$/m);
  assert.equal(await countEvents(database), 2);
  const answers = [
    ["y", 8],
    ["", 8],
    [`${database.name}x`, 8],
    [database.name, 0],
  ] as const;
  for (const [answer, exitCode] of answers) {
    assert.equal(await answerOnTerminal(database, answer), exitCode, `answer ${JSON.stringify(answer)}`);
    assert.equal(await countEvents(database), exitCode === 0 ? 0 : 2);
  }
});

test("reset refuses a server on another host, without connecting to it", async () => {
  await using database = await withDatabase();
  const env = { CQRS_MODE: "external", DATABASE_URL: "postgres://someone:secret@db.example.com:5432/shop" };
  const { exitCode, stderr } = await runScript(["reset", "--yes"], { stackDir: `${database.stackDir}/none`, env });
  assert.equal(exitCode, 8, stderr);
  assert.match(stderr, /^error: The database shop is on another host: db\.example\.com:5432$/m);
  assert.match(stderr, /pass --allow-remote\.$/m);
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "db.localhost", "/run/postgresql"]) {
    assert.ok(isLoopback(host), host);
  }
  for (const host of [
    "db.example.com",
    "10.0.0.1",
    "::2",
    "localhost.example.com",
    "127.0.0.1.example.com",
    "0.0.0.0",
  ]) {
    assert.ok(!isLoopback(host), host);
  }
});

test("reset refuses while a replication slot of the database is used", async () => {
  await using database = await withDatabase();
  await using maintenance = await openMaintenance(database);
  const [level] = await maintenance.sql`show wal_level`;
  if (level?.["wal_level"] !== "logical") return;
  const slot = `slot_${database.name}`;
  await database.admin`select pg_create_logical_replication_slot(${slot}, 'test_decoding')`;
  const refused = await runScript(words(database, "--no-backup"), database);
  assert.ok(refused.stderr.includes(`replication slots that are dropped with it: ${slot}`), refused.stderr);
  await runForData(words(database, ...quick), database);
  assert.equal((await maintenance.sql`select from pg_replication_slots where slot_name = ${slot}`).length, 0);
});

/** About the duration of a reset. */
const runMs = 1_500;

test("a reset killed at any moment leaves the old database or the new one, and the next one succeeds", async () => {
  await using database = await withDatabase();
  for (let round = 0; round < testRounds(3); round++) {
    await runForData(words(database, ...quick), database);
    await fill(database);
    const started = startScript(words(database, ...quick), database);
    await Promise.race([sleep((Math.random() * runMs * (round + 1)) / 2), started.ended]);
    started.kill("SIGKILL");
    await started.ended;
    assert.ok([0, 2].includes(await countEvents(database)));
    await runForData(words(database, ...quick), database);
    assert.equal(await countEvents(database), 0);
    await using maintenance = await openMaintenance(database);
    const left = await maintenance.sql`
      select from pg_database where starts_with(datname::text, ${`${database.name.slice(0, 30)}`})
        and datname::text ~ '_resetting_'`;
    assert.equal(left.length, 0);
  }
  await runForData(["restore", "--drop-old", "--database", database.name, "--yes"], database);
});

/** Runs a reset on a pseudo-terminal and types an answer. */
async function answerOnTerminal(database: TestDatabase, answer: string): Promise<number | null> {
  const command = [...runtimeCommand("scripts/reset.ts"), ...words(database, "--no-backup").slice(1)];
  const child = spawn("script", ["-qec", command.map((word) => `'${word}'`).join(" "), "/dev/null"], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", CQRS_STACK_DIR: database.stackDir },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let shown = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const isAsked = !shown.includes(question) && `${shown}${chunk}`.includes(question);
    shown += chunk;
    if (isAsked) child.stdin.write(`${answer}\n`);
  });
  return await new Promise((resolve) => child.on("close", resolve));
}

const question = "Type the name of the database to reset it:";
