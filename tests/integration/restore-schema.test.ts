import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { BackupResult } from "../../scripts/lib/backup/create.ts";
import type { RestoreResult } from "../../scripts/lib/backup/restore.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { copyProject } from "../support/project-copy.ts";
import { startProgram } from "../support/run-script.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";

const migration = "sql/migrations/9000-add-invoices.sql";
const invoices = "create table read_model.invoice (id integer, amount integer)";

test("an archive of an older schema keeps it, unless --migrate applies the newer migrations", async () => {
  await using project = await makeProject();
  const { archive } = await project.data<BackupResult>("backup");
  await writeFile(join(project.dir, migration), invoices);
  await project.data("schema", "apply");
  const older = await project.data<RestoreResult>("restore", archive, "--yes", "--drop-old");
  assert.deepEqual(older.migrated, []);
  assert.equal(await project.hasInvoices(), false);
  const migrated = await project.data<RestoreResult>("restore", archive, "--yes", "--drop-old", "--migrate");
  assert.deepEqual(migrated.migrated, ["migrations/9000-add-invoices.sql"]);
  assert.equal(await project.hasInvoices(), true);
  assert.equal((await project.data<{ pending: string[] }>("schema", "status")).pending.length, 0);
});

test("an archive with an unknown or a different migration is refused", async () => {
  await using project = await makeProject();
  const file = join(project.dir, migration);
  await writeFile(file, invoices);
  await project.data("schema", "apply");
  const { archive } = await project.data<BackupResult>("backup");
  await rm(file);
  const unknown = await project.run("restore", archive, "--yes", "--json");
  assert.deepEqual([unknown.exitCode, JSON.parse(unknown.stdout).error.code], [8, "ARCHIVE_NEWER"]);
  assert.match(JSON.parse(unknown.stdout).error.why, /9000-add-invoices/);
  await writeFile(file, `${invoices};\n-- edited`);
  const edited = await project.run("restore", archive, "--yes", "--json");
  assert.deepEqual([edited.exitCode, JSON.parse(edited.stdout).error.code], [4, "SCHEMA_DRIFT"]);
  assert.equal(await project.hasInvoices(), true, "the database is unchanged");
});

/** Creates a copy of the project, whose migrations a test may change, with a bootstrapped stack. */
async function makeProject() {
  const copy = await copyProject();
  const stack = await makeTestStack();
  const run = (...[name, ...args]: readonly string[]) => {
    const options = { env: { CQRS_STACK_DIR: stack.stackDir }, cwd: copy.dir };
    return startProgram(join(copy.dir, `scripts/${name}.ts`), args, options).ended;
  };
  const data = async <Data>(...words: readonly string[]): Promise<Data> => {
    const { exitCode, stdout, stderr } = await run(...words, "--json");
    assert.equal(exitCode, 0, stdout + stderr);
    return (JSON.parse(stdout) as { data: Data }).data;
  };
  await data("bootstrap");
  return {
    dir: copy.dir,
    run,
    data,
    hasInvoices: () => hasInvoices(stack),
    async [Symbol.asyncDispose]() {
      await stack[Symbol.asyncDispose]();
      await copy[Symbol.asyncDispose]();
    },
  };
}

async function hasInvoices(stack: TestStack): Promise<boolean> {
  await using administrator = openConnection(await stack.administrator());
  const [row] = await administrator.sql`select from pg_tables where tablename = 'invoice'`;
  return row !== undefined;
}
