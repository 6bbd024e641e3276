import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { applyChanges, planInit, programLine } from "../../scripts/lib/operations/init-project.ts";
import { assetsDir } from "../../scripts/lib/paths.ts";

let folder = "";
const folders: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cqrs-init-"));
  folders.push(folder);
});
after(async () => {
  for (const one of folders) await rm(one, { recursive: true, force: true });
});

function read(path: string): Promise<string> {
  return readFile(join(folder, path), "utf8");
}

function write(path: string, content: string): Promise<void> {
  return writeFile(join(folder, path), content);
}

/** @returns the paths that were written */
async function initialise(): Promise<string[]> {
  const { changes } = await planInit(folder);
  await applyChanges(folder, changes);
  return changes.map(({ path }) => path);
}

test("a new project gets scripts, a line in .gitignore and a sample; the second time, nothing", async () => {
  await write("package.json", '{"name":"app","type":"module"}');
  const samples = ["cqrs/cart.ts", "cqrs/carts.ts", "cqrs/cart.test.ts", "cqrs/hello.ts"];
  assert.deepEqual(await initialise(), [".gitignore", "package.json", ...samples]);
  assert.equal(await read(".gitignore"), ".cqrs/\n");
  const { scripts, ...others } = JSON.parse(await read("package.json"));
  assert.deepEqual(others, { name: "app", type: "module" });
  assert.equal(scripts["db:start"], "cqrs-postgres bootstrap");
  assert.deepEqual(await initialise(), []);
});

test("the program of the sample is named by the command that runs it, if it was created", async () => {
  await write("package.json", "{}");
  const { changes } = await planInit(folder);
  assert.match(programLine(changes) ?? "", /^(bun|deno run -A|node.*) cqrs\/hello\.ts$/);
  assert.equal(programLine(changes.slice(0, 2)), undefined);
});

test("what a project has stays as it is", async () => {
  const manifest = { scripts: { test: "vitest", "db:start": "own" }, private: true };
  await write("package.json", `${JSON.stringify(manifest, undefined, "\t")}\n`);
  await write(".gitignore", "node_modules");
  await mkdir(join(folder, "cqrs"));
  await write("cqrs/own.ts", "");
  assert.deepEqual(await initialise(), [".gitignore", "package.json"]);
  assert.equal(await read(".gitignore"), "node_modules\n.cqrs/\n");
  const text = await read("package.json");
  assert.match(text, /^\{\n\t"scripts": \{\n\t\t"test": "vitest",\n\t\t"db:start": "own",\n\t\t"db:status"/);
  assert.ok(text.endsWith("}\n"));
  assert.deepEqual(await readdir(join(folder, "cqrs")), ["own.ts"]);
});

test("the placeholder that npm writes as the script test is replaced", async () => {
  await write("package.json", '{"scripts":{"test":"echo \\"Error: no test specified\\" && exit 1"}}');
  await initialise();
  assert.match(JSON.parse(await read("package.json")).scripts.test, /test/);
  assert.doesNotMatch(await read("package.json"), /no test specified/);
});

test("every usual way to ignore .cqrs is recognised", async () => {
  await write("package.json", "{}");
  for (const line of [".cqrs", "/.cqrs", ".cqrs/", "/.cqrs/", "  .cqrs/  "]) {
    await write(".gitignore", `dist\r\n${line}\r\n`);
    const { changes } = await planInit(folder);
    assert.ok(!changes.some(({ path }) => path === ".gitignore"), line);
  }
});

test("a deno.json gets tasks; one with comments stays, with a note", async () => {
  await write("deno.json", '{ "tasks": { "dev": "deno run main.ts" } }\n');
  await initialise();
  assert.deepEqual(Object.keys(JSON.parse(await read("deno.json")).tasks), [
    "dev",
    "db:start",
    "db:status",
    "db:stop",
    "test",
  ]);
  await write("deno.json", '{ // comment\n "tasks": {} }');
  const { notes, changes } = await planInit(folder);
  assert.match(notes.join(), /deno\.json contains comments .*"db:start"/);
  assert.ok(!changes.some(({ path }) => path === "deno.json"));
});

test("a manifest keeps its mode and stays behind its symbolic link", async () => {
  await write("real.json", "{}");
  await chmod(join(folder, "real.json"), 0o640);
  await symlink("real.json", join(folder, "package.json"));
  await initialise();
  assert.match(await read("real.json"), /db:start/);
  assert.equal((await stat(join(folder, "real.json"))).mode & 0o777, 0o640);
});

test("a byte order mark and the line ends of Windows are kept", async () => {
  await write("package.json", '\uFEFF{\r\n  "name": "app"\r\n}\r\n');
  await write(".gitignore", "dist\r\n");
  await initialise();
  const text = await read("package.json");
  assert.match(text, /^\uFEFF\{\r\n {2}"name": "app",\r\n {2}"scripts": \{\r\n/);
  assert.doesNotMatch(text, /[^\r]\n/);
  assert.equal(await read(".gitignore"), "dist\r\n.cqrs/\r\n");
});

test("a file in place of the sample's folder is explained, and so is what appears in the meantime", async () => {
  await write("package.json", "{}");
  await write("cqrs", "");
  await assert.rejects(planInit(folder), { code: "FOLDER_UNUSABLE", exitCode: 9 });
  await rm(join(folder, "cqrs"));
  await symlink("nowhere", join(folder, "cqrs"));
  await assert.rejects(initialise(), { code: "FOLDER_UNUSABLE", exitCode: 9 });
  await rm(join(folder, "cqrs"));
  const { changes } = await planInit(folder);
  await initialise();
  await assert.rejects(applyChanges(folder, changes), { code: "FOLDER_UNUSABLE", why: /in the meantime/ });
});

test("an unreadable manifest, no manifest and the clone itself are refused, and nothing is changed", async () => {
  await assert.rejects(planInit(folder), { code: "NO_PROJECT", exitCode: 2 });
  for (const text of ["", "{", "[]", "null", '"text"', '{"scripts":"text"}', '{"scripts":["text"]}']) {
    await write("package.json", text);
    await assert.rejects(planInit(folder), { code: "CONFIGURATION", exitCode: 2 });
  }
  assert.deepEqual(await readdir(folder), ["package.json"]);
  await assert.rejects(planInit(assetsDir), { code: "REFUSED", exitCode: 8 });
});

test("an interrupted run is completed by the next one", async () => {
  await write("package.json", "{}");
  const { changes } = await planInit(folder);
  for (let written = 1; written < changes.length; written++) {
    await applyChanges(folder, changes.slice(written - 1, written));
    const rest = (await planInit(folder)).changes;
    assert.deepEqual(
      rest.map(({ path }) => path).toSorted(),
      changes
        .slice(written)
        .map(({ path }) => path)
        .toSorted(),
    );
  }
});
