import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import type { StopResult } from "../../scripts/lib/operations/stop.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { bootstrapTestStack, type TestStack, withCluster } from "../support/stack.ts";

const damages: readonly (readonly [string, (file: string) => Promise<void>])[] = [
  ["removed", (file) => rm(file)],
  ["emptied", (file) => writeFile(file, "")],
  ["replaced by that of another process", (file) => writeFile(file, `${process.pid}\n/elsewhere\n0\n1\n`)],
];

test("a server that has lost its postmaster.pid is found by every command", async () => {
  await using stack = await withCluster();
  for (const [damage, apply] of damages) {
    const pid = await pidOf(stack);
    await apply(join(stack.dataDir, "postmaster.pid"));
    const status = await runForData<StackStatus>(["status"], stack);
    assert.equal(status.pid, pid, damage);
    assert.match(status.stackProblems.join("\n"), /postmaster\.pid was removed.* run .*stop && .*bootstrap/);
    const seed = await runScript(["seed"], stack);
    assert.equal(seed.exitCode, 3, seed.stderr);
    assert.match(seed.stderr, /fix: Run .*stop && .*bootstrap, which loses no data/);
    const refused = await runScript(["bootstrap"], stack);
    assert.equal(refused.exitCode, 8, refused.stderr);
    assert.match(refused.stderr, /is running, but its postmaster\.pid was removed/);
    assert.equal((await runForData<StopResult>(["stop"], stack)).pid, pid, damage);
    assert.equal(isAlive(pid), false, damage);
    await bootstrapTestStack(stack.stackDir);
  }
  const pid = await pidOf(stack);
  await rm(join(stack.dataDir, "postmaster.pid"));
  await runForData(["destroy", "--yes"], stack);
  assert.deepEqual([isAlive(pid), existsSync(stack.dataDir)], [false, false]);
});

test("a program in the data directory that is not its server is left alone", async () => {
  await using stack = await withCluster();
  const server = await pidOf(stack);
  await rm(join(stack.dataDir, "postmaster.pid"));
  const child = spawn("sleep", ["60"], { cwd: stack.dataDir });
  try {
    assert.equal((await runForData<StopResult>(["stop"], stack)).pid, server);
    assert.equal((await runForData<StopResult>(["stop"], stack)).pid, null);
    assert.equal(isAlive(child.pid as number), true);
  } finally {
    child.kill();
  }
});

async function pidOf({ dataDir }: TestStack): Promise<number> {
  const found = await findPostmaster(dataDir);
  assert.equal(found.state, "running");
  return found.state === "running" ? found.pid : 0;
}
