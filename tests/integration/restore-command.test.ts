import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { runScript } from "../support/run-script.ts";

const cannotAsk = "  why: There is no terminal to ask on, or --json is set. The plan:\n";

test("restore --drop-old asks before it drops kept databases, and does not if there are none", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  const { kept } = await archives.restore({ dropOld: false });
  assert.ok(kept !== null);

  const refused = await run(archives, ["restore", "--drop-old"]);
  assert.deepEqual([refused.exitCode, refused.stdout], [8, ""]);
  assert.match(refused.stderr, /^error: Nothing was dropped$/m);
  assert.ok(refused.stderr.includes(`${cannotAsk}       drops: ${kept}\n`), refused.stderr);
  assert.match(refused.stderr, /^ {2}fix: Run bun run restore --drop-old --yes$/m);
  const json = await run(archives, ["restore", "--drop-old", "--json"]);
  assert.equal(json.exitCode, 8);
  const { error, data } = JSON.parse(json.stdout);
  assert.deepEqual([error.code, data], ["REFUSED", { dropped: [], kept: [kept] }]);
  assert.deepEqual(await databasesLike(archives, kept), [kept]);

  const dropped = await run(archives, ["restore", "--drop-old", "--yes"]);
  assert.deepEqual([dropped.exitCode, dropped.stdout], [0, `dropped ${kept}\n`]);
  assert.deepEqual(await databasesLike(archives, kept), []);
  const nothing = await run(archives, ["restore", "--drop-old"]);
  assert.deepEqual([nothing.exitCode, nothing.stdout], [0, "dropped nothing\n"]);
});

test("restore says under which name it keeps the old database, and how to drop it", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  const { exitCode, stdout } = await run(archives, ["restore", "latest", "--from", archives.folder, "--yes"]);
  assert.equal(exitCode, 0);
  const name = /^the old database is kept as (\S+); to drop all that are kept, run bun run restore --drop-old$/m;
  const kept = name.exec(stdout)?.[1] ?? assert.fail(stdout);
  assert.deepEqual(await databasesLike(archives, kept), [kept]);
  assert.equal((await run(archives, ["restore", "--drop-old", "--yes"])).stdout, `dropped ${kept}\n`);
});

test("restore asks before it replaces a database that has tables but no event store", async () => {
  await using archives = await withArchives();
  const { database, folder } = archives;
  await archives.backUp();
  await database.admin`drop schema event_store cascade`;
  const refused = await run(archives, ["restore", "latest", "--from", folder, "--drop-old"]);
  assert.equal(refused.exitCode, 8, refused.stderr);
  assert.match(refused.stderr, /^error: Nothing was restored$/m);
  assert.ok(refused.stderr.includes(`replaces: ${database.name} (no event store; will be dropped)`), refused.stderr);
});

const unusableNames: readonly (readonly [name: string, problem: string])[] = [
  ["postgres", "must not be one of postgres, template0, template1"],
  ["template0", "must not be one of postgres, template0, template1"],
  ["template1", "must not be one of postgres, template0, template1"],
  ["x".repeat(64), "must have at most 63 bytes"],
  ["a\tb", "must not contain control characters"],
];

test("restore --into refuses a name that no restored database can have", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  for (const [name, problem] of unusableNames) {
    const { exitCode, stdout, stderr } = await run(archives, [
      ...["restore", "latest", "--from", archives.folder, "--into", name],
    ]);
    assert.deepEqual([exitCode, stdout], [2, ""], name);
    assert.equal(
      stderr,
      `error: --into ${problem}\n  fix: Pass another name: --into <name>. See bun run restore --help.\n`,
    );
  }
});

test("a refused restore prints the command to confirm it, with every flag that was given", async () => {
  await using archives = await withArchives();
  await archives.backUp();
  const folder = `${archives.folder}, Ada's`;
  await rename(archives.folder, folder);
  const { exitCode, stderr } = await run(archives, ["restore", "latest", "--from", folder, "--until-position", "1"]);
  assert.equal(exitCode, 8);
  const quoted = `'${folder.replace("'", "'\\''")}'`;
  assert.ok(stderr.endsWith(`  fix: Run bun run restore latest --from ${quoted} --until-position 1 --yes\n`), stderr);
});

function run({ database }: ArchiveTest, words: readonly string[]) {
  return runScript(words, { stackDir: database.stackDir, env: { POSTGRES_DB: database.name } });
}

async function databasesLike({ database }: ArchiveTest, name: string): Promise<string[]> {
  await using connection = openConnection({ ...database.administrator, database: "postgres" });
  const rows = await connection.sql<{ name: string }[]>`
    select datname::text as name from pg_database where datname = ${name}`;
  return rows.map(({ name }) => name);
}
