import assert from "node:assert/strict";
import { readFile, rm, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { test } from "node:test";
import { createMigration } from "../../scripts/lib/schema/create.ts";
import { readAllFiles, readSchema, titleOf } from "../../scripts/lib/schema/source.ts";
import { failure, withFiles } from "../support/schema-folder.ts";

const first = "migrations/0001-first.sql";

for (const [name, blamed] of [
  ["migrations/0001_first.sql", "0001_first.sql"],
  ["migrations/1-first.sql", "1-first.sql"],
  ["migrations/0001-First.sql", "0001-First.sql"],
  ["migrations/0001-first.SQL", "0001-first.SQL"],
  ["migrations/0001-first.sql.bak", "0001-first.sql.bak"],
  ["migrations/v1/0001-first.sql", "v1/0001-first.sql"],
  ["routines/view.sql.txt", "view.sql.txt"],
  ["0001-first.sql", "0001-first.sql"],
  ["repeatable/view.sql", "repeatable"],
  ["migration/0001-first.SQL", "migration"],
] as const) {
  test(`readSchema() refuses a file that would be ignored: ${name}`, async () => {
    await using folder = await withFiles({ [name]: "select 1" });
    const error = await failure(readSchema(folder.dir, "app"));
    assert.deepEqual([error.code, error.exitCode], ["MIGRATION_NAME", 2]);
    assert.ok(error.message.includes(blamed), error.message);
  });
}

test("readSchema() ignores hidden files, descriptions, seeds and a folder that does not exist", async () => {
  await using folder = await withFiles({
    [first]: "select 1",
    "migrations/README.md": "",
    "migrations/.gitkeep": "",
    "routines/.history/old.sql": "",
    "seeds/demo.jsonl": "",
    "README.md": "",
    "cart.ts": "",
    "tests/cart.test.ts": "",
  });
  assert.deepEqual((await readSchema(folder.dir, "app")).map(titleOf), [`app/${first}`]);
  assert.deepEqual(await readSchema(join(folder.dir, "missing"), "app"), []);
});

test("readAllFiles() lists the product's files first", async () => {
  await using folder = await withFiles({ [first]: "select 1" });
  const files = await readAllFiles(folder.dir);
  assert.deepEqual(files.at(-1)?.path, join(folder.dir, first));
  assert.ok(files.slice(0, -1).every(({ source }) => source === "cqrs"));
});

for (const [what, bytes] of [
  ["invalid UTF-8", Buffer.from([0x73, 0xff, 0xfe])],
  ["a null character", Buffer.from("select 1;\0drop table x;")],
  ["UTF-16", Buffer.from("select 1;", "utf16le")],
] as const) {
  test(`readSchema() refuses a file that is not text: ${what}`, async () => {
    await using folder = await withFiles({ [first]: bytes as never });
    const error = await failure(readSchema(folder.dir, "app"));
    assert.deepEqual([error.code, error.exitCode], ["FILE_TEXT", 2]);
    assert.ok(error.message.startsWith(join(folder.dir, first)), error.message);
  });
}

test("readSchema() refuses a link to a file that does not exist", async () => {
  await using folder = await withFiles({});
  await symlink("nowhere", join(folder.dir, first));
  assert.equal((await failure(readSchema(folder.dir, "app"))).code, "FILE_TEXT");
});

test("a file with other line ends or a byte order mark has the same checksum", async () => {
  await using one = await withFiles({ [first]: "select 1;\nselect 2;\n" });
  await using other = await withFiles({ [first]: "\uFEFFselect 1;\r\nselect 2;\r\n" });
  const checksums = await Promise.all([one, other].map(async ({ dir }) => (await readSchema(dir, "app"))[0]?.checksum));
  assert.equal(checksums[0], checksums[1]);
});

test("createMigration() creates the next migration, in a folder that need not exist", async () => {
  await using folder = await withFiles({});
  await rm(join(folder.dir, "migrations"), { recursive: true });
  for (const wanted of ["0001-add-invoices.sql", "0002-add-invoices.sql"]) {
    const { path } = await createMigration(folder.dir, "add-invoices");
    assert.equal(path, join(folder.dir, "migrations", wanted));
    assert.equal(await readFile(path, "utf8"), "-- Add invoices.\n\n");
  }
});

test("migrations that are created at once have different numbers", async () => {
  await using folder = await withFiles({});
  const created = await Promise.all(["c", "b", "a", "d"].map((name) => createMigration(folder.dir, name)));
  const numbers = created.map(({ path }) => basename(path).slice(0, 4));
  assert.equal(new Set(numbers).size, 4, `${numbers}`);
});

for (const name of ["Add", "../x", "a b", "ü", ""]) {
  test(`createMigration() refuses the name ${JSON.stringify(name)}`, async () => {
    await using folder = await withFiles({});
    assert.equal((await failure(createMigration(folder.dir, name))).code, "USAGE");
  });
}
