import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ApplyResult } from "../../scripts/lib/schema/apply.ts";
import { readAllFiles, readSchema } from "../../scripts/lib/schema/source.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { pgBouncerSkip, startPgBouncer } from "../support/pgbouncer.ts";
import { runForData, startScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { applyProject, failure, withFiles } from "../support/schema-folder.ts";
import { until } from "../support/session.ts";

const things = "create table command_model.thing (id integer); insert into command_model.thing values (1), (2);";
const steps = `-- no-transaction
insert into command_model.thing values (3);
create index concurrently thing_idx on command_model.thing (id);
insert into command_model.thing values (4);
`;

async function indexes({ admin }: TestDatabase): Promise<string[]> {
  const rows = await admin<{ index: string }[]>`
    select indexrelid::regclass || case when indisvalid then '' else ' (invalid)' end as index
    from pg_index where indrelid = 'command_model.thing'::regclass order by 1`;
  return rows.map(({ index }) => index);
}

async function rowsOf({ admin }: TestDatabase): Promise<number[]> {
  return (await admin<{ id: number }[]>`select id from command_model.thing order by id`).map(({ id }) => id);
}

async function progressOf({ admin }: TestDatabase) {
  const [row] = await admin`
    select statements_done as done, is_in_doubt as "isInDoubt" from public.schema_migration
    where source = 'app' and name = 'migrations/0002-steps.sql'`;
  return row === undefined ? undefined : { ...row };
}

test("a file without a transaction is run statement by statement, once", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-things.sql": things, "migrations/0002-steps.sql": steps });
  await applyProject(database, folder);
  assert.deepEqual((await applyProject(database, folder)).applied, []);
  assert.deepEqual(await rowsOf(database), [1, 2, 3, 4]);
  assert.deepEqual(await indexes(database), ["thing_idx"]);
  assert.deepEqual(await progressOf(database), { done: null, isInDoubt: false });
});

test("after a statement that fails, the next run goes on with it", async () => {
  await using database = await withDatabase();
  const text = `${steps}insert into command_model.thing values (1 / 0);\ninsert into command_model.thing values (5);\n`;
  await using folder = await withFiles({ "migrations/0001-things.sql": things, "migrations/0002-steps.sql": text });
  const error = await failure(applyProject(database, folder));
  assert.match(error.message, /0002-steps\.sql:5:1: division by zero$/);
  assert.match(error.fix ?? "", /statements before this one stay applied, and the next run goes on with this one/);
  assert.deepEqual(await progressOf(database), { done: 3, isInDoubt: false });
  await folder.write({ "migrations/0002-steps.sql": text.replace("1 / 0", "0") });
  assert.deepEqual((await applyProject(database, folder)).applied, ["app/migrations/0002-steps.sql"]);
  assert.deepEqual(await rowsOf(database), [0, 1, 2, 3, 4, 5]);
});

test("a file that is half applied is not begun again because it has a transaction now", async () => {
  await using database = await withDatabase();
  const text = `${steps}insert into command_model.thing values (1 / 0);\n`;
  await using folder = await withFiles({ "migrations/0001-things.sql": things, "migrations/0002-steps.sql": text });
  await failure(applyProject(database, folder));
  const repaired = text.replace("-- no-transaction\n", "").replace(" concurrently", "").replace("1 / 0", "0");
  await folder.write({ "migrations/0002-steps.sql": repaired });
  assert.equal((await failure(applyProject(database, folder))).code, "SCHEMA_DRIFT");
  await folder.write({ "migrations/0002-steps.sql": text.replace("1 / 0", "0") });
  await applyProject(database, folder);
  assert.deepEqual(await rowsOf(database), [0, 1, 2, 3, 4]);
});

test("a statement outside a transaction has the limit for statements", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-steps.sql": "-- no-transaction\nselect pg_sleep(30);\n" });
  const error = await failure(applyProject(database, folder, { statementTimeoutMs: 100 }));
  assert.match(error.why ?? "", /statement timeout \(57014\)/);
});

test("a change of statements that were run is refused, with the file's name", async () => {
  await using database = await withDatabase();
  const text = `${steps}select 1 / 0;\n`;
  await using folder = await withFiles({ "migrations/0001-things.sql": things, "migrations/0002-steps.sql": text });
  await failure(applyProject(database, folder));
  await folder.write({ "migrations/0002-steps.sql": text.replace("(3)", "(33)").replace("1 / 0", "1") });
  const error = await failure(applyProject(database, folder));
  assert.deepEqual([error.code, error.exitCode], ["SCHEMA_DRIFT", 4]);
  assert.match(error.message, /^app\/migrations\/0002-steps\.sql is half applied/);
  assert.deepEqual(await rowsOf(database), [1, 2, 3, 4]);
});

test("an invalid index that a failed statement has left is dropped before the next attempt", async () => {
  await using database = await withDatabase();
  const unique = "-- no-transaction\ncreate unique index concurrently thing_idx on command_model.thing (id);\n";
  await using folder = await withFiles({
    "migrations/0001-things.sql": `${things} insert into command_model.thing values (1);`,
    "migrations/0002-steps.sql": unique,
  });
  assert.match((await failure(applyProject(database, folder))).why ?? "", /23505/);
  assert.deepEqual(await indexes(database), ["thing_idx (invalid)"]);
  await database.admin`delete from command_model.thing where ctid = (select max(ctid) from command_model.thing)`;
  await applyProject(database, folder);
  assert.deepEqual(await indexes(database), ["thing_idx"]);
});

test("an index that another file has made is not taken for the one of this statement", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    "migrations/0001-things.sql": `${things} create index thing_idx on command_model.thing (id);`,
    "migrations/0002-steps.sql": steps,
  });
  for (let attempt = 0; attempt < 2; attempt++)
    assert.match((await failure(applyProject(database, folder))).why ?? "", /42P07/);
});

test("settings of a file hold for its later statements, after an interruption too, and end with the file", async () => {
  await using database = await withDatabase();
  const text = `-- no-transaction
set statement_timeout = '7min';
select 1 / 0;
insert into command_model.thing select setting::integer from pg_settings where name = 'statement_timeout';
`;
  await using folder = await withFiles({
    "migrations/0001-things.sql": "create table command_model.thing (id integer);",
    "migrations/0002-steps.sql": text,
    "migrations/0003-after.sql":
      "insert into command_model.thing select setting::integer from pg_settings where name = 'statement_timeout'",
  });
  await failure(applyProject(database, folder));
  await folder.write({ "migrations/0002-steps.sql": text.replace("1 / 0", "1") });
  await applyProject(database, folder);
  assert.deepEqual(await rowsOf(database), [0, 420_000]);
});

test("a procedure that commits can be called in a file without a transaction", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({
    "migrations/0001-things.sql": `${things}
create procedure command_model.fill() language plpgsql as $$ begin
  insert into command_model.thing values (5); commit; insert into command_model.thing values (6);
end $$;`,
    "migrations/0002-steps.sql": "-- no-transaction\ncall command_model.fill();\n",
  });
  await applyProject(database, folder);
  assert.deepEqual(await rowsOf(database), [1, 2, 5, 6]);
});

for (const [what, text] of [
  ["the product's files", undefined],
  ["an index without a name", "-- no-transaction\ncreate index concurrently on command_model.thing (id)"],
  ["a transaction", "-- no-transaction\nbegin; select 1; commit"],
  ["a concurrent index in a transaction", "create index concurrently thing_idx on command_model.thing (id)"],
  ["VACUUM in a transaction", "vacuum command_model.thing"],
] as const) {
  test(`refused before anything is applied: ${what}`, async () => {
    await using database = await withDatabase({ isEmpty: text === undefined });
    await using folder = await withFiles({
      "migrations/0001-things.sql": text === undefined ? steps : things,
      ...(text === undefined ? {} : { "migrations/0002-steps.sql": text }),
    });
    const files = text === undefined ? await readSchema(folder.dir) : await readAllFiles(folder.dir);
    const error = await failure(applyProject(database, folder, { files }));
    assert.deepEqual([error.code, error.exitCode], ["STATEMENT_REFUSED", 2]);
    assert.equal((await database.admin`select to_regclass('command_model.thing') as t`)[0]?.["t"], null);
  });
}

test("a file that cannot get a lock is rolled back, tried again, and says who holds the lock", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-things.sql": things });
  await applyProject(database, folder);
  await folder.write({ "migrations/0002-column.sql": "alter table command_model.thing add column name text;" });
  const told: string[] = [];
  const options = { lockTimeoutMs: 400, onBlocked: (text: string) => void told.push(text) };
  const reader = await database.admin.reserve();
  await reader`begin`;
  await reader`select from command_model.thing`;
  const [session] = await reader<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const error = await failure(applyProject(database, folder, { ...options, timeoutMs: 600 }));
  assert.deepEqual([error.code, error.exitCode], ["MIGRATION_STOPPED", 3]);
  assert.match(error.why ?? "", new RegExp(`lock timeout \\(55P03\\)\\nIt waited for session ${session?.pid} `));
  const applied = applyProject(database, folder, options);
  await until(() => told.filter((text) => text.endsWith("trying again")).length >= 3);
  // Readers get through between the attempts.
  await database.admin`select from command_model.thing`;
  await reader`rollback`;
  reader.release();
  assert.deepEqual((await applied).applied, ["app/migrations/0002-column.sql"]);
  assert.ok(told.some((text) => text.startsWith(`migrations/0002-column.sql waits for session ${session?.pid} `)));
});

test("a process that is killed while it creates an index is waited for, and the index is made once", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-things.sql": things, "migrations/0002-steps.sql": steps });
  const reader = await database.admin.reserve();
  await reader`begin isolation level repeatable read`;
  await reader`select 1`;
  const words = ["schema", "apply", "--database", database.name, "--dir", folder.dir];
  const killed = startScript(words, database);
  await until(async () => (await progressOf(database))?.["isInDoubt"] === true);
  const [building] = await database.admin<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = ${database.name} and query like 'create index concurrently%'`;
  killed.kill("SIGKILL");
  await killed.ended;
  const tooEarly = await failure(applyProject(database, folder, { timeoutMs: 100 }));
  assert.deepEqual([tooEarly.code, tooEarly.exitCode], ["LOCKED", 5]);
  const again = runForData<ApplyResult>(words, database);
  await sleep(300);
  assert.deepEqual(await progressOf(database), { done: 1, isInDoubt: true });
  await reader`rollback`;
  reader.release();
  assert.deepEqual((await again).applied, ["app/migrations/0002-steps.sql"]);
  assert.deepEqual(await indexes(database), ["thing_idx"]);
  assert.deepEqual(await rowsOf(database), [1, 2, 3, 4]);
  const [row] = await database.admin`select from pg_stat_activity where pid = ${building?.pid ?? 0}`;
  assert.equal(row, undefined);
});

test("however often it is killed, a repeat completes the schema, and nothing is done twice", async () => {
  const many = Object.fromEntries(
    Array.from({ length: 12 }, (_, index) => {
      const name = `migrations/00${String(index + 2).padStart(2, "0")}-file.sql`;
      const text =
        index % 3 === 0
          ? steps.replaceAll("thing_idx", `thing_${index}_idx`)
          : `insert into command_model.thing values (${index});`;
      return [name, text];
    }),
  );
  for (let round = 0; round < testRounds(1); round++) {
    await using database = await withDatabase();
    await using folder = await withFiles({ "migrations/0001-things.sql": things, ...many });
    const words = ["schema", "apply", "--database", database.name, "--dir", folder.dir];
    for (let kill = 0; kill < 3; kill++) {
      const script = startScript(words, database);
      await Promise.race([script.ended, sleep(150 + Math.random() * 500)]);
      script.kill("SIGKILL");
      await script.ended;
    }
    await applyProject(database, folder);
    assert.equal((await indexes(database)).length, 4);
    assert.ok((await indexes(database)).every((index) => !index.includes("invalid")));
    const counts = await database.admin<{ id: number; count: number }[]>`
      select id, count(*)::int as count from command_model.thing group by id order by id`;
    const wanted = [1, 2, 4, 5, 7, 8, 10, 11, ...Array(4).fill(3), ...Array(4).fill(4)].concat([1, 2]);
    assert.equal(
      counts.reduce((sum, { count }) => sum + count, 0),
      wanted.length,
    );
  }
});

test("20 concurrent runs with a concurrent index among the files do not deadlock, and apply each file once", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-things.sql": things, "migrations/0002-steps.sql": steps });
  const runs = await Promise.all(Array.from({ length: 20 }, () => applyProject(database, folder)));
  assert.deepEqual(runs.flatMap(({ applied }) => applied).toSorted(), [
    "app/migrations/0001-things.sql",
    "app/migrations/0002-steps.sql",
  ]);
  assert.deepEqual(await rowsOf(database), [1, 2, 3, 4]);
  assert.deepEqual(await indexes(database), ["thing_idx"]);
});

test("a pooler in transaction mode is refused, although it would lend out the same session", {
  skip: pgBouncerSkip,
}, async () => {
  await using database = await withDatabase();
  await using folder = await withFiles({ "migrations/0001-things.sql": things });
  for (const poolSize of [2, 20]) {
    await using pooler = await startPgBouncer(database.administrator as never, { poolMode: "transaction", poolSize });
    const through = { administrator: { ...database.administrator, port: pooler.port } };
    const error = await failure(applyProject(through, folder));
    assert.deepEqual([error.code, error.exitCode], ["POOLER", 9]);
  }
});
