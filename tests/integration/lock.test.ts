import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { type LockOptions, lockStack } from "../../scripts/lib/stack/lock.ts";
import { startProgram } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";

const fixtures = "tests/support/fixtures";

function options(more: Partial<LockOptions> = {}): LockOptions {
  return { command: "test", timeoutMs: 60_000, signal: new AbortController().signal, onWait() {}, ...more };
}

async function makeStackDir(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "cqrs-lock-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test("lockStack() admits one process at a time", async () => {
  const processes = 4;
  const times = testRounds(5);
  await using stackDir = await makeStackDir();
  await writeFile(join(stackDir.path, "count"), "0");
  const runs = await Promise.all(
    Array.from(
      { length: processes },
      () => startProgram(`${fixtures}/count-under-lock.ts`, [stackDir.path, `${times}`]).ended,
    ),
  );
  for (const run of runs) assert.equal(run.exitCode, 0, run.stderr);
  assert.equal(await readFile(join(stackDir.path, "count"), "utf8"), `${processes * times}`);
});

test("lockStack() admits one caller at a time within a process", async () => {
  await using stackDir = await makeStackDir();
  let inside = 0;
  const callers = Array.from({ length: 5 }, async () => {
    using _lock = await lockStack(stackDir.path, options());
    inside++;
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(inside, 1);
    inside--;
  });
  await Promise.all(callers);
});

test("lockStack() names the holder while it waits, and takes the lock once the holder was killed", async () => {
  for (let round = 0; round < testRounds(2); round++) {
    await using stackDir = await makeStackDir();
    const { child, ended, saw, kill } = startProgram(`${fixtures}/hold-stack-lock.ts`, [stackDir.path]);
    await saw("holding");
    const waiting = Promise.withResolvers<string>();
    const locked = lockStack(stackDir.path, options({ onWait: waiting.resolve }));
    assert.equal(await waiting.promise, `fixture (pid ${child.pid})`);
    kill("SIGKILL");
    using _lock = await locked;
    assert.equal((await ended).exitCode, null);
  }
});

test("lockStack() fails after its timeout and names the holder", async () => {
  await using stackDir = await makeStackDir();
  using _lock = await lockStack(stackDir.path, options({ command: "bootstrap" }));
  await assert.rejects(lockStack(stackDir.path, options({ timeoutMs: 60 })), (error) => {
    assert.ok(error instanceof ScriptError);
    assert.deepEqual([error.code, error.exitCode], ["LOCKED", 5]);
    assert.equal(error.message, `bootstrap (pid ${process.pid}) is using this stack`);
    assert.equal(error.why, `The lock of ${stackDir.path} was not free for 60 ms.`);
    return true;
  });
});

test("lockStack() stops waiting when it is aborted", async () => {
  await using stackDir = await makeStackDir();
  using _lock = await lockStack(stackDir.path, options());
  const controller = new AbortController();
  const waiting = lockStack(
    stackDir.path,
    options({ signal: controller.signal, onWait: () => controller.abort(new Error("enough")) }),
  );
  await assert.rejects(waiting, { message: "enough" });
});

test("a released lock can be taken again immediately", async () => {
  await using stackDir = await makeStackDir();
  const onWait = () => assert.fail("it was free");
  for (let round = 0; round < 3; round++) (await lockStack(stackDir.path, options({ onWait })))[Symbol.dispose]();
});

test("the locks of two stacks are independent", async () => {
  await using one = await makeStackDir();
  await using other = await makeStackDir();
  using _one = await lockStack(one.path, options());
  using _other = await lockStack(other.path, options({ onWait: () => assert.fail("it was free") }));
});
