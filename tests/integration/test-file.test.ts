import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "../../scripts/lib/process.ts";
import { runtimeName } from "../support/runtime.ts";
import { runTestFile } from "../support/test-file.ts";

let workDir: string;
before(async () => {
  workDir = await mkdtemp(join(tmpdir(), "cqrs-runner-"));
});
after(() => rm(workDir, { recursive: true, force: true }));

function run(file: string, timeoutMs: number, env: Record<string, string> = {}) {
  const signal = new AbortController().signal;
  const options = { env: { ...process.env, ...env }, workDir, timeoutMs, signal };
  return runTestFile({ runtime: runtimeName, file }, options);
}

test("a file that hangs is killed together with its server, and counts as failed with a reason", async () => {
  const pidFile = join(workDir, "pid");
  // A busy machine may need longer to start the server.
  for (const seconds of [6, 20, 60]) {
    const result = await run("tests/support/fixtures/hangs.ts", seconds * 1000, { HANGS_PID_FILE: pidFile });
    assert.deepEqual([result.failed, result.problem], [1, `killed, since it did not end within ${seconds} seconds`]);
    if (existsSync(pidFile)) break;
  }
  const pids = (await readFile(pidFile, "utf8")).split(" ").map(Number);
  assert.equal(pids.filter((pid) => pid > 1).length, 2);
  for (const deadline = Date.now() + 60_000; pids.some(isAlive) && Date.now() < deadline; ) await sleep(20);
  assert.deepEqual(pids.filter(isAlive), []);
});

test("a file that cannot be loaded, and one without a test, count as failed", async () => {
  const file = join(workDir, "broken.test.ts");
  await writeFile(file, "throw new Error('not loadable');");
  const broken = await run(file, 30_000);
  assert.equal(broken.failed, 1);
  assert.match(broken.output, /not loadable/);
  await writeFile(file, "export {};");
  const empty = await run(file, 30_000);
  assert.deepEqual([empty.passed, empty.failed], [0, 1]);
});
