import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { dumpSchema, type SchemaDifference } from "../../scripts/lib/schema/dump.ts";
import { schemaDir } from "../../scripts/lib/schema/source.ts";
import { withDatabase } from "../support/database.ts";
import { runForData, runScript } from "../support/run-script.ts";

const { signal } = new AbortController();

test("sql/schema.sql is what the files create", async () => {
  await using database = await withDatabase();
  const expected = await readFile(join(schemaDir, "schema.sql"), "utf8");
  const isCurrent = (await dumpSchema(database.administrator, signal)).trimEnd() === expected.trimEnd();
  assert.ok(isCurrent, "run: bun run --silent schema dump --reference >sql/schema.sql");
});

test("schema status --drift names the objects that are changed, missing or extra, and changes no exit code", async () => {
  await using database = await withDatabase();
  const stack = { stackDir: database.stackDir, env: { POSTGRES_DB: database.name } };
  const read = async () =>
    (await runForData<{ drift: SchemaDifference[] }>(["schema", "status", "--drift"], stack)).drift;
  assert.deepEqual(await read(), []);
  assert.equal((await runForData<{ drift: null }>(["schema", "status"], stack)).drift, null);
  assert.match((await runScript(["schema", "status"], stack)).stdout, /^drift: not checked/m);
  await database.admin
    .unsafe(`
    create view read_model.added as select 1 as n;
    comment on table event_store.domain_event is 'changed';
    drop view read_model.projection_lag`)
    .simple();
  const differences = (await read()).map(({ object, difference }) => `${difference} ${object}`);
  const expected = [
    "changed COMMENT event_store.TABLE domain_event",
    "extra VIEW read_model.added",
    "missing VIEW read_model.projection_lag",
  ];
  assert.deepEqual(
    expected.filter((one) => !differences.includes(one)),
    [],
  );
  assert.ok(
    differences.every((one) => /added|domain_event|projection_lag/.test(one)),
    differences.join("\n"),
  );
  const { exitCode, stdout } = await runScript(["schema", "status", "--drift"], stack);
  assert.equal(exitCode, 0);
  assert.match(stdout, /^extra: VIEW read_model\.added$/m);
});

test("schema dump prints the schema, --reference the one that the files alone create", async () => {
  await using database = await withDatabase();
  const stack = { stackDir: database.stackDir, env: { POSTGRES_DB: database.name } };
  await database.admin`create table command_model.mine (n integer)`;
  const [live, reference] = await Promise.all([
    runScript(["schema", "dump"], stack),
    runScript(["schema", "dump", "--reference"], stack),
  ]);
  assert.match(live.stdout, /CREATE TABLE command_model\.mine/);
  assert.equal(reference.stdout, await readFile(join(schemaDir, "schema.sql"), "utf8"));
});
