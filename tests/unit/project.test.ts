import assert from "node:assert/strict";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { findProject, searchProject } from "../../scripts/lib/project.ts";

let root = "";

before(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "cqrs-project-")));
});
after(() => rm(root, { recursive: true, force: true }));

/** Creates empty files; a path that ends with `/` is a folder. */
async function create(...paths: string[]): Promise<void> {
  for (const path of paths) {
    const full = join(root, path);
    await mkdir(path.endsWith("/") ? full : dirname(full), { recursive: true });
    if (!path.endsWith("/")) await writeFile(full, "{}");
  }
}

function found(...starts: string[]): string | undefined {
  const project = searchProject(starts.map((start) => join(root, start)));
  return project === undefined ? undefined : relative(root, project);
}

test("the nearest package.json or deno.json marks the project", async () => {
  await create("a/.git/", "a/package.json", "a/src/deep/", "a/sub/deno.json", "a/sub/src/", "a/other/deno.jsonc");
  assert.equal(found("a"), "a");
  assert.equal(found("a/src/deep"), "a");
  assert.equal(found("a/sub/src"), "a/sub");
  assert.equal(found("a/other"), "a/other");
  assert.equal(found("a/does/not/exist"), "a");
});

test("a stack above a package comes before the package", async () => {
  await create("mono/.git/", "mono/package.json", "mono/one/package.json", "mono/two/package.json");
  assert.equal(found("mono/one"), "mono/one");
  await create("mono/.cqrs/state.json");
  assert.equal(found("mono/one"), "mono");
  await create("mono/two/.cqrs/state.json");
  assert.equal(found("mono/two/"), "mono/two");
});

test("the search ends at the root of the repository", async () => {
  await create("outer/package.json", "outer/.cqrs/state.json", "outer/inner/.git/", "outer/inner/src/");
  assert.equal(found("outer/inner/src"), undefined);
  // In a worktree and in a submodule, .git is a file.
  await create("outer/worktree/.git", "outer/worktree/src/");
  assert.equal(found("outer/worktree/src"), undefined);
});

test("a test cluster, an empty .cqrs and a package in node_modules are no projects", async () => {
  await create("b/.git/", "b/package.json", "b/.cqrs/test/state.json", "b/lib/.cqrs/");
  assert.equal(found("b/.cqrs/test"), "b");
  assert.equal(found("b/lib"), "b");
  await create("b/node_modules/tool/package.json", "b/node_modules/tool/bin/");
  assert.equal(found("b/node_modules/tool/bin"), "b");
});

test("a program that runs in another folder finds the project it lies in", async () => {
  await create("c/.git/", "c/package.json", "c/dist/", "nowhere/.git/");
  assert.equal(found("nowhere", "c/dist"), "c");
  assert.equal(found("nowhere"), undefined);
});

test("a folder that is named is taken as it is, without a search", async () => {
  await create("d/.git/", "d/package.json", "d/empty/");
  const named = join(root, "d/empty");
  const [stackDir, sqlDir] = [join(named, ".cqrs"), join(named, "cqrs")];
  assert.deepEqual(findProject(named, {}), { projectDir: named, stackDir, sqlDir });
  assert.equal(findProject(undefined, { CQRS_PROJECT_DIR: named }).projectDir, named);
  assert.equal(findProject(named, { CQRS_PROJECT_DIR: root }).projectDir, named);
});

test("a folder that does not exist, or is a file, is refused", async () => {
  await create("e/file");
  for (const path of ["e/none", "e/file"]) {
    assert.throws(() => findProject(join(root, path), {}), { code: "NO_PROJECT", exitCode: 2 });
    assert.throws(() => findProject(undefined, { CQRS_PROJECT_DIR: join(root, path) }), { code: "NO_PROJECT" });
  }
});

test("a folder without a name is refused, and does not mean the working folder", () => {
  assert.throws(() => findProject("", {}), { code: "NO_PROJECT", exitCode: 2 });
});

test("a working folder that was deleted is refused", async () => {
  await create("gone/");
  const working = process.cwd();
  process.chdir(join(root, "gone"));
  await rm(join(root, "gone"), { recursive: true });
  try {
    assert.throws(() => findProject("somewhere", {}), { code: "NO_PROJECT", message: /does not exist any more/ });
  } finally {
    process.chdir(working);
  }
});

test("in a clone, the project is the clone", () => {
  const [stackDir, sqlDir] = [join(assetsDir, "infrastructure"), join(assetsDir, "sql/app")];
  assert.deepEqual(findProject(undefined, {}), { projectDir: assetsDir, stackDir, sqlDir });
  assert.equal(findProject(assetsDir, {}).stackDir, join(assetsDir, "infrastructure"));
});
