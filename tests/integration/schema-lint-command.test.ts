import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { runScript } from "../support/run-script.ts";
import { withFiles } from "../support/schema-folder.ts";
import { jsonContract } from "../unit/contracts.ts";

const files = {
  "migrations/0001-orders.sql": "create table snapshot (id int);\ncreate index on snapshot (id);\n",
  "migrations/0002-index.sql": "\uFEFFselect 1;\r\n\r\ncreate index orders_idx on :{app}.orders (id);\r\n",
  "routines/clean.sql": "create or replace function f() returns void language sql as 'delete from snapshot';\n",
};

/** Runs the command without a stack: nothing is configured and nothing is running. */
async function lint(...words: readonly string[]) {
  return runScript(["schema", "lint", ...words], { stackDir: "/nonexistent" });
}

test("schema lint checks the files of a project, without a server, and exits with 7", async () => {
  await using folder = await withFiles(files);
  const { exitCode, stdout, stderr } = await lint("--dir", folder.dir);
  assert.equal(stderr, "");
  assert.equal(exitCode, 7);
  assert.ok(stdout.startsWith(`${join(folder.dir, "migrations/0002-index.sql")}:3:1 index-not-concurrent: index on `));
  assert.match(stdout, /\n {2}CREATE INDEX blocks all writes .*\n {2}Better: .*\n1 finding in 3 files\n$/);
});

test("schema lint with names reports these files only, and knows what the others create", async () => {
  await using folder = await withFiles(files);
  const clean = join(folder.dir, "routines/clean.sql");
  const { exitCode, stdout } = await lint("--dir", folder.dir, clean, clean);
  assert.deepEqual([exitCode, stdout], [0, "no findings in 1 file\n"]);
  const alone = await lint("--dir", join(folder.dir, "none"), clean);
  assert.match(alone.stdout, /clean\.sql:1:1 event-store-write: rows of event_store\.snapshot/);
});

test("schema lint --json prints one object with the findings", async () => {
  await using folder = await withFiles({ "migrations/0001-a.sql": "drop table a;" });
  const { exitCode, stdout } = await lint("--dir", folder.dir, "--json");
  const { ok, command, data } = JSON.parse(stdout);
  assert.deepEqual([exitCode, ok, command], [7, true, "schema lint"]);
  assert.deepEqual(Object.keys(data), jsonContract.lint);
  assert.deepEqual(Object.keys(data.findings[0]), jsonContract.lintFinding);
});

test("schema lint refuses a file that does not exist, and one that is a folder", async () => {
  await using folder = await withFiles(files);
  for (const [path, code, reason] of [
    [join(folder.dir, "none.sql"), 2, "does not exist"],
    [folder.dir, 9, "EISDIR"],
  ] as const) {
    const { exitCode, stderr } = await lint(path);
    assert.equal(exitCode, code);
    assert.ok(stderr.includes(path) && stderr.includes(reason), stderr);
  }
});
