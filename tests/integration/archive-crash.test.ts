import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { verifyArchive } from "../../scripts/lib/archive/verify.ts";
import type { BackupResult } from "../../scripts/lib/backup/create.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { append, placed } from "../support/append.ts";
import { readContent } from "../support/oracle.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";

/** About the duration of a backup or a restore; a kill can happen anywhere in it. */
const runMs = 1000;

test("a backup killed at any moment leaves no incomplete archive, and the next one succeeds", async () => {
  await using stack = await bootstrapped();
  for (let round = 0; round < testRounds(1); round++) {
    await killAt(["backup"], stack, Math.random() * runMs);
    const { archive } = await runForData<BackupResult>(["backup"], stack);
    await assertWhole(stack, archive);
  }
});

test("a restore killed at any moment leaves the old database or the restored one, and the next one succeeds", async () => {
  await using stack = await bootstrapped();
  const archived = await contentOf(stack);
  await runForData(["backup"], stack);
  for (let round = 0; round < testRounds(1); round++) {
    await appendOne(stack);
    const live = await contentOf(stack);
    await killAt(["restore", "latest", "--yes"], stack, Math.random() * runMs);
    const found = JSON.stringify(await contentOf(stack));
    assert.ok([live, archived].map((content) => JSON.stringify(content)).includes(found));
    await runForData(["restore", "latest", "--yes", "--drop-old"], stack);
    assert.deepEqual(await contentOf(stack), archived);
    assert.deepEqual(await temporaryDatabases(stack), []);
  }
});

test("a server killed during a backup or a restore makes that run fail, and nothing is lost", async () => {
  await using stack = await bootstrapped();
  const live = await contentOf(stack);
  await runForData(["backup"], stack);
  for (let round = 0; round < testRounds(1); round++) {
    // A single round does the restore, which has more to lose.
    for (const words of [["restore", "latest", "--yes"], ["backup"]].slice(0, testRounds(1))) {
      const run = startScript(words, stack);
      await Promise.race([sleep(Math.random() * runMs), run.ended]);
      await killServer(stack);
      const { exitCode, stderr } = await run.ended;
      assert.ok(exitCode !== null && exitCode !== 1, `unexpected: ${exitCode} ${stderr}`);
      await runForData(["bootstrap"], stack);
      assert.deepEqual(await contentOf(stack), live);
      const { archive } = await runForData<BackupResult>(["backup"], stack);
      await assertWhole(stack, archive);
      await runForData(["restore", "latest", "--yes", "--drop-old"], stack);
    }
  }
});

test("a backup to a full disk reports it and leaves no files; with free space it succeeds", async (t) => {
  await using stack = await bootstrapped();
  const folder = join(stack.stackDir, "small");
  using disk = await mountDisk(folder, "1m");
  if (disk === undefined) return t.skip(noDisk);
  await appendNoise(stack, 200);
  const run = await runScript(["backup", "--to", folder], stack);
  assert.equal(run.exitCode, 9, run.stderr);
  assert.match(run.stderr, /The disk is full/);
  assert.deepEqual(await readdir(folder), []);
  disk.resize("64m");
  const { archive } = await runForData<BackupResult>(["backup", "--to", folder], stack);
  await verifyArchive(archive);
});

test("a restore to a full disk reports it and leaves the database unchanged; with free space it succeeds", async (t) => {
  await using stack = await makeTestStack();
  const folder = join(stack.stackDir, "postgres");
  using disk = await mountDisk(folder, "2g");
  if (disk === undefined) return t.skip(noDisk);
  await runForData(["bootstrap"], stack);
  for (let count = 0; count < 20; count++) await appendNoise(stack, 100);
  const archives = join(stack.stackDir, "archives");
  await runForData(["backup", "--to", archives], stack);
  const live = await contentOf(stack);
  const { blocks, bfree, bsize } = await statfs(folder);
  disk.resize(`${(blocks - bfree) * bsize + 30_000_000}`);
  const words = ["restore", "latest", "--from", archives, "--yes"];
  const run = await runScript(words, stack);
  // If there is no space for the write-ahead log, the server itself exits.
  const outcome = run.exitCode === 9 ? /The disk of the PostgreSQL server is full/ : /Cannot use postgres/;
  assert.match(run.stderr, outcome);
  assert.ok(run.exitCode === 9 || run.exitCode === 3, `${run.exitCode}`);
  disk.resize("2g");
  await runForData(["bootstrap"], stack);
  assert.deepEqual(await contentOf(stack), live);
  await runForData([...words, "--drop-old"], stack);
  assert.deepEqual(await contentOf(stack), live);
  await runForData(["stop"], stack);
});

const noDisk = "this user cannot mount a small file system";

/** Mounts a file system of the given size on a new folder; undefined if this user cannot. */
async function mountDisk(folder: string, size: string) {
  await mkdir(folder);
  const mount = (options: string) => spawnSync("mount", ["-t", "tmpfs", "-o", options, "none", folder]).status === 0;
  if (!mount(`size=${size}`)) return undefined;
  return {
    resize: (newSize: string) => assert.ok(mount(`remount,size=${newSize}`)),
    [Symbol.dispose]: () => void spawnSync("umount", ["--lazy", folder]),
  };
}

async function bootstrapped(): Promise<TestStack> {
  const stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  for (let count = 0; count < 20; count++) await appendOne(stack);
  return stack;
}

/** Appends events of 20,000 incompressible bytes. */
async function appendNoise(stack: TestStack, count: number): Promise<void> {
  const events = Array.from({ length: count }, () => ({ ...placed, event_data: { noise: noise(20_000) } }));
  await using application = openConnection(await stack.application());
  await append(application.sql, { events });
}

async function appendOne(stack: TestStack): Promise<void> {
  await using application = openConnection(await stack.application());
  await append(application.sql, { events: [placed, placed] });
}

async function killAt(words: readonly string[], stack: TestStack, delayMs: number): Promise<void> {
  const { ended, kill } = startScript(words, stack);
  await Promise.race([sleep(delayMs), ended]);
  kill("SIGKILL");
  await ended;
}

/** Every entry of the folder is a complete archive, and the last one is among them. */
async function assertWhole(stack: TestStack, last: string): Promise<void> {
  const folder = join(stack.stackDir, "postgres/backups");
  const names = await readdir(folder);
  assert.ok(names.some((name) => join(folder, name) === last));
  for (const name of names) await verifyArchive(join(folder, name));
}

async function contentOf(stack: TestStack) {
  await using administrator = openConnection(await stack.administrator());
  return await readContent(administrator.sql);
}

async function temporaryDatabases(stack: TestStack): Promise<string[]> {
  await using administrator = openConnection(await stack.administrator());
  const rows = await administrator.sql<{ name: string }[]>`
    select datname::text as name from pg_database where datname ~ '_(restoring|scratch)_'`;
  return rows.map(({ name }) => name);
}

async function killServer(stack: TestStack): Promise<void> {
  const postmaster = await findPostmaster(stack.dataDir);
  assert.equal(postmaster.state, "running");
  process.kill(postmaster.pid, "SIGKILL");
  while (isAlive(postmaster.pid)) await sleep(5);
}

/** Text that does not compress well. */
function noise(length: number): string {
  return randomBytes(length).toString("base64").slice(0, length);
}
