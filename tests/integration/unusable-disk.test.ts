import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFile, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, type TestStack, withCluster } from "../support/stack.ts";

const skip = (process.platform !== "linux" || process.getuid?.() !== 0) && "only root on Linux can mount a file system";

/** Sizes with which initdb, creating the database and applying the schema fail. */
for (const size of ["20m", "40m", "41m"]) {
  test(`a first bootstrap on a disk of ${size} names the full disk`, { skip }, async (context) => {
    await using stack = await makeTestStack();
    if (!mount(stack, "-t", "tmpfs", "-o", `size=${size}`, "tmpfs"))
      return context.skip("mounting is not allowed here");
    try {
      await assertExit(stack, ["bootstrap"], 9, /disk of the PostgreSQL server is full\n.*No space left on device/);
    } finally {
      await runScript(["stop"], stack);
      unmount(stack);
    }
  });
}

test("every command names a disk that fills up later", { skip }, async (context) => {
  await using stack = await makeTestStack();
  if (!mount(stack, "-t", "tmpfs", "-o", "size=90m", "tmpfs")) return context.skip("mounting is not allowed here");
  try {
    await runForData(["bootstrap"], stack);
    await runForData(["seed"], stack);
    spawnSync("dd", ["if=/dev/zero", `of=${join(stack.stackDir, "filler")}`, "bs=1M"]);
    const full = /disk.* is full/;
    await assertExit(stack, ["seed", "--events", "20000"], 9, full);
    for (const words of [["backup"], ["reset", "--yes", "--no-backup"], ["bootstrap", "--database", "x", "--yes"]]) {
      await assertExit(stack, words, 9, full);
    }
    await runForData(["stop"], stack);
    await assertExit(stack, ["bootstrap"], 9, full);
    await rm(join(stack.stackDir, "filler"));
    await runForData(["bootstrap"], stack);
  } finally {
    await runScript(["stop"], stack);
    unmount(stack);
  }
});

test("commands name a read-only file system, and destroy stops no server that it cannot delete", {
  skip,
}, async (context) => {
  await using stack = await withCluster();
  if (!mount(stack, "--bind", stack.stackDir)) return context.skip("mounting is not allowed here");
  try {
    remount(stack, "ro");
    const readOnly = /The file system is read-only\. \(EROFS.*\n.*Mount it writable/;
    for (const words of [["backup"], ["reset", "--yes"], ["secrets", "rotate", "--yes"], ["destroy", "--yes"]]) {
      await assertExit(stack, words, 9, readOnly);
    }
    assert.equal((await runScript(["status"], stack)).exitCode, 0);
    const verified = await runScript(["verify"], stack);
    assert.match(verified.stdout, /The data directory.*\n.*why: Its file system is read-only/);
    remount(stack, "rw");
    await runForData(["stop"], stack);
    remount(stack, "ro");
    await assertExit(stack, ["bootstrap"], 9, readOnly);
    assert.equal((await runScript(["stop"], stack)).exitCode, 0);
    await assertExit(stack, ["destroy", "--yes"], 9, readOnly);
  } finally {
    remount(stack, "rw");
    unmount(stack);
  }
});

test("a disk that was full before the last start explains no failure of today", async () => {
  await using stack = await withCluster();
  await runForData(["stop"], stack);
  const names = (await readdir(join(stack.dataDir, "log"))).filter((name) => name.startsWith("postgresql-"));
  const log = join(stack.dataDir, "log", `${names[0]}`);
  const settings = join(stack.dataDir, "postgresql.auto.conf");
  const valid = await readFile(settings, "utf8");
  for (const [setting, reason] of [
    ["max_connections = 'abc'", /invalid value for parameter "max_connections"/],
    ["shared_preload_libraries = 'nosuch'", /could not access file "nosuch"/],
    ["no_such_setting = 1", /unrecognized configuration parameter "no_such_setting"/],
  ] as const) {
    await appendFile(log, '2026-01-01 00:00:00 UTC [1] PANIC:  could not write "pg_wal/1": No space left on device\n');
    await writeFile(settings, `${valid}\n${setting}\n`);
    await assertExit(stack, ["bootstrap"], 3, reason);
  }
  await writeFile(settings, valid);
  await runForData(["bootstrap"], stack);
});

test("a server whose folder was moved is reported as such", async () => {
  await using stack = await withCluster();
  await using other = await makeTestStack();
  await rename(stack.stackDir, join(other.stackDir, "moved"));
  const options = { stackDir: join(other.stackDir, "moved") };
  try {
    for (const name of ["status", "bootstrap"]) {
      const run = await runScript([name], options);
      assert.equal(run.exitCode, 8, run.stderr);
      assert.match(
        run.stderr,
        /was moved while its server was running\n.*\n.*fix: Run bun run stop && bun run bootstrap/,
      );
    }
    for (const words of [["backup"], ["verify"], ["seed"]]) {
      assert.doesNotMatch((await runScript(words, options)).stderr, /^ +at /m, words.join(" "));
    }
    await runForData(["stop"], options);
    await runForData(["bootstrap"], options);
  } finally {
    await runScript(["stop"], options);
    await rename(join(other.stackDir, "moved"), stack.stackDir);
  }
});

async function assertExit(stack: TestStack, words: readonly string[], exitCode: number, reason: RegExp): Promise<void> {
  const run = await runScript(words, stack);
  assert.equal(run.exitCode, exitCode, `${words.join(" ")}\n${run.stderr}`);
  assert.match(run.stderr, reason, words.join(" "));
  assert.doesNotMatch(run.stderr, /^ +at /m, words.join(" "));
}

function mount({ stackDir }: TestStack, ...words: readonly string[]): boolean {
  return spawnSync("mount", [...words, stackDir]).status === 0;
}

function remount({ stackDir }: TestStack, mode: "ro" | "rw"): void {
  const { status, stderr } = spawnSync("mount", ["-o", `remount,bind,${mode}`, stackDir], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

function unmount({ stackDir }: TestStack): void {
  spawnSync("umount", ["--lazy", stackDir]);
}
