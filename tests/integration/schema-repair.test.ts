import assert from "node:assert/strict";
import { test } from "node:test";
import { type RepairOptions, repairSchema } from "../../scripts/lib/schema/repair.ts";
import { readAllFiles } from "../../scripts/lib/schema/source.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { applyProject, type Files, failure, type SchemaFolder, withFiles } from "../support/schema-folder.ts";

const first = "migrations/0001-first.sql";
const second = "migrations/0002-second.sql";
const ordinary: Files = {
  [first]: "create table command_model.first (id integer);\ncomment on table command_model.first is 'First';\n",
  [second]: "create table command_model.second (id integer);\ncomment on table command_model.second is 'Second';\n",
};

const patience = { timeoutMs: 30_000, signal: new AbortController().signal, onWait: () => {} };

async function apply(database: TestDatabase, folder: SchemaFolder): Promise<readonly string[]> {
  return (await applyProject(database, folder)).applied;
}

async function repairAll(
  { administrator }: TestDatabase,
  { dir }: SchemaFolder,
  confirm: RepairOptions["confirm"] | undefined,
): Promise<readonly string[]> {
  const readFiles = () => readAllFiles(dir, { isChecked: false });
  const options = { ...patience, readFiles, isDryRun: confirm === undefined, confirm: confirm ?? (async () => {}) };
  return (await repairSchema(administrator, options)).repairs;
}

const agree = async () => {};
const refuse = () => Promise.reject(new Error("no"));

interface Change {
  /** Changes the files after both were applied. */
  readonly change: (folder: SchemaFolder) => Promise<void>;
  /** What `schema apply` says. */
  readonly problem: RegExp;
  readonly exitCode: number;
  readonly repair: RegExp;
  /** What is applied after the repair. */
  readonly applied: readonly string[];
}

const changes: Readonly<Record<string, Change>> = {
  "an edited file": {
    change: (folder) => folder.write({ [first]: "create table command_model.other (id integer);\n" }),
    problem: /app\/migrations\/0001-first\.sql was edited after it was applied/,
    exitCode: 4,
    repair: /^accept app\/migrations\/0001-first\.sql as it is now; its changes are not applied to this database$/,
    applied: [],
  },
  "a renamed file": {
    change: async (folder) => {
      await folder.remove(second);
      await folder.write({ "migrations/0003-renamed.sql": ordinary[second] ?? "" });
    },
    problem: /app\/migrations\/0002-second\.sql was renamed to migrations\/0003-renamed\.sql after it was applied/,
    exitCode: 4,
    repair: /^note in the ledger that app\/migrations\/0002-second\.sql is now app\/migrations\/0003-renamed\.sql$/,
    applied: [],
  },
  "a deleted file": {
    change: (folder) => folder.remove(second),
    problem: /app\/migrations\/0002-second\.sql was applied to this database, but the file is missing/,
    exitCode: 4,
    repair: /^forget that app\/migrations\/0002-second\.sql was applied; what it has created stays$/,
    applied: [],
  },
  "a file that comes before an applied one": {
    change: async (folder) => {
      await folder.remove(first);
      await folder.write({
        "migrations/0001-early.sql": "create table command_model.early ();",
        [first]: ordinary[first] ?? "",
      });
      await folder.remove("migrations/0001-early.sql");
      await folder.write({ "migrations/0000-early.sql": "create table command_model.early ();" });
    },
    problem: /app\/migrations\/0000-early\.sql comes before migrations\/0002-second\.sql, which is already applied/,
    exitCode: 4,
    repair: /^rename the file \/.*\/0000-early\.sql to 0003-early\.sql$/,
    applied: ["app/migrations/0003-early.sql"],
  },
  "two files with one number": {
    change: (folder) => folder.write({ "migrations/0002-a.sql": "create table command_model.third ();" }),
    problem: /migrations\/0002-a\.sql and migrations\/0002-second\.sql have the same number/,
    exitCode: 2,
    repair: /^rename the file \/.*\/0002-a\.sql to 0003-a\.sql$/,
    applied: ["app/migrations/0003-a.sql"],
  },
};

for (const [what, { change, problem, exitCode, repair, applied }] of Object.entries(changes)) {
  test(`schema apply names ${what}, and schema repair settles it after asking`, async () => {
    await using database = await withDatabase();
    await using folder = await withFiles(ordinary);
    await apply(database, folder);
    await change(folder);
    const refused = await failure(apply(database, folder));
    assert.equal(refused.exitCode, exitCode);
    assert.match(refused.message, problem);
    assert.match(refused.fix ?? "", /schema repair/);

    const shown = await repairAll(database, folder, undefined);
    assert.equal(shown.length, 1);
    assert.match(shown[0] ?? "", repair);
    await assert.rejects(repairAll(database, folder, refuse), { message: "no" });
    assert.equal((await failure(apply(database, folder))).message, refused.message);

    assert.deepEqual(await repairAll(database, folder, agree), shown);
    assert.deepEqual(await apply(database, folder), applied);
    assert.deepEqual(await repairAll(database, folder, undefined), []);
  });
}

test("the files of the product are never repaired", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(ordinary);
  await apply(database, folder);
  await database.admin`
    insert into public.schema_migration (name, checksum, duration_ms)
    values ('migrations/0999-newer.sql', ${"0".repeat(64)}, 1)`;
  const error = await failure(repairAll(database, folder, agree));
  assert.deepEqual([error.code, error.exitCode], ["SCHEMA_DRIFT", 4]);
  assert.match(error.fix ?? "", /^Use the newer version of cqrs-postgres\.$/);
});

test("all files of a project that are gone are missed", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(ordinary);
  await apply(database, folder);
  await folder.remove(first);
  await folder.remove(second);
  assert.match((await failure(apply(database, folder))).message, /0001-first\.sql was applied .* the file is missing/);
});

test("a half applied file whose first statements were edited is accepted by schema repair", async () => {
  await using database = await withDatabase();
  const text = "-- no-transaction\ncreate table command_model.half (id integer);\nselect 1 / 0;\n";
  await using folder = await withFiles({ [first]: text });
  assert.equal((await failure(apply(database, folder))).code, "MIGRATION_FAILED");
  await folder.write({ [first]: text.replace("integer", "bigint").replace("1 / 0", "1") });
  assert.equal((await failure(apply(database, folder))).code, "SCHEMA_DRIFT");
  assert.deepEqual(await repairAll(database, folder, agree), [
    `accept the first 1 statements of app/${first} as they are now`,
  ]);
  assert.deepEqual(await apply(database, folder), [`app/${first}`]);
});

test("schema repair asks, and does nothing without a terminal or --yes", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(ordinary);
  await apply(database, folder);
  await folder.remove(second);
  const words = ["schema", "repair", "--database", database.name, "--dir", folder.dir];
  assert.equal((await runScript(words, database)).exitCode, 8);
  assert.equal((await repairAll(database, folder, undefined)).length, 1);
  const { repairs } = await runForData<{ repairs: string[] }>([...words, "--yes"], database);
  assert.deepEqual(repairs, [`forget that app/${second} was applied; what it has created stays`]);
});

test("schema verify checks ledger, drift, comments and invariants", async () => {
  await using database = await withDatabase();
  await using folder = await withFiles(ordinary);
  await apply(database, folder);
  const words = ["schema", "verify", "--database", database.name, "--dir", folder.dir];
  interface Verified {
    checks: { name: string; problems: string[] }[];
  }
  const { checks } = await runForData<Verified>(words, database);
  assert.deepEqual(
    checks.map(({ name, problems }) => [name, problems]),
    [
      ["ledger", []],
      ["drift", []],
      ["comments", []],
      ["invariants", []],
    ],
  );
  await folder.write({ "migrations/0003-third.sql": "select 1;" });
  await database.admin.unsafe(`
    create table command_model.stray (id integer);
    comment on table command_model.second is null;
    insert into event_store.event_stream (stream_id, aggregate_id, aggregate_type, version)
    values (gen_random_uuid(), gen_random_uuid(), 'Stray', 1);
  `);
  const failed = await runScript([...words, "--json"], database);
  assert.equal(failed.exitCode, 11, failed.stderr);
  const problems = Object.fromEntries(
    (JSON.parse(failed.stdout) as { data: Verified }).data.checks.map((check) => [check.name, check.problems]),
  );
  assert.deepEqual(problems["ledger"], ["app/migrations/0003-third.sql is not applied"]);
  assert.deepEqual(problems["drift"], ["missing: COMMENT command_model.TABLE second"]);
  assert.deepEqual(problems["comments"], ["table command_model.second has no comment"]);
  assert.ok(problems["invariants"]?.some((line) => line.startsWith("event_store.stream_id_is_derived: ")));
});
