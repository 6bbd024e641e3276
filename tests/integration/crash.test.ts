import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import { runForData, runScript, startScript } from "../support/run-script.ts";
import { testRounds } from "../support/runtime.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";

/** How long a cold bootstrap takes on a quiet machine; kills happen at any moment of it. */
const coldBootstrapMs = 1500;

test("after ten bootstraps that are killed at random moments, the eleventh completes the stack", async () => {
  for (let round = 0; round < testRounds(1); round++) {
    await using stack = await makeTestStack();
    for (let kill = 0; kill < 10; kill++) await killBootstrap(stack, Math.random() * coldBootstrapMs);
    await assertBootstraps(stack);
  }
});

test("after a first bootstrap that is killed at a random moment, the next one completes the stack", async () => {
  for (let round = 0; round < testRounds(2); round++) {
    await using stack = await makeTestStack();
    await killBootstrap(stack, Math.random() * coldBootstrapMs);
    await assertBootstraps(stack);
  }
});

test("after the server is killed under load, the next bootstrap recovers every acknowledged event", async () => {
  for (let round = 0; round < testRounds(2); round++) {
    await using stack = await makeTestStack();
    await runForData(["bootstrap"], stack);
    const acknowledged = await appendUntilKilled(stack);
    assert.ok(acknowledged.length > 0);
    const { steps } = await runForData<BootstrapResult>(["bootstrap"], stack);
    assert.match(steps.find(({ name }) => name === "server")?.detail ?? "", /^started/);
    await using application = openConnection(await stack.application());
    const stored = await application.sql<{ number: number }[]>`
      select (event_data ->> 'number')::int as number from event_store.domain_event`;
    const numbers = new Set(stored.map(({ number }) => number));
    assert.deepEqual(
      acknowledged.filter((number) => !numbers.has(number)),
      [],
    );
  }
});

test("a stale pid file whose pid belongs to another program does not prevent the start of the server", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  const pidFile = join(stack.dataDir, "postmaster.pid");
  const content = await readFile(pidFile, "utf8");
  await killServer(stack);
  const stranger = spawn("sleep", ["600"], { stdio: "ignore" });
  try {
    await writeFile(pidFile, content.replace(/^\d+/, `${stranger.pid}`));
    assert.equal((await runScript(["status"], stack)).exitCode, 3);
    assert.equal((await runScript(["stop"], stack)).exitCode, 0);
    assert.equal(isAlive(stranger.pid as number), true);
    await assertBootstraps(stack);
  } finally {
    stranger.kill("SIGKILL");
  }
});

test("a pid file that a full disk or a power failure left empty does not prevent the start of the server", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await killServer(stack);
  await writeFile(join(stack.dataDir, "postmaster.pid"), "");
  await assertBootstraps(stack);
});

test("a server that does not start is reported with the end of its log", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await runForData(["stop"], stack);
  await writeFile(join(stack.dataDir, "postgresql.auto.conf"), "shared_buffers = 'plenty'\n");
  const run = await runScript(["bootstrap"], stack);
  assert.equal(run.exitCode, 3);
  assert.match(run.stderr, /why: .*invalid value for parameter "shared_buffers"/s);
  assert.match(run.stderr, /fix: /);
});

async function killBootstrap(stack: TestStack, delayMs: number): Promise<void> {
  const { child, ended } = startScript(["bootstrap"], stack);
  await Promise.race([sleep(delayMs), ended]);
  child.kill("SIGKILL");
  await ended;
}

async function assertBootstraps(stack: TestStack): Promise<void> {
  const run = await runScript(["bootstrap"], stack);
  assert.equal(run.exitCode, 0, run.stderr);
  await using application = openConnection(await stack.application());
  const [row] = await application.sql`select current_user::text as role`;
  assert.equal(row?.["role"], "cqrs_app");
  const leftovers = (await readdir(join(stack.stackDir, "postgres"))).filter((name) => name !== "data");
  assert.deepEqual(leftovers, []);
}

async function appendUntilKilled(stack: TestStack): Promise<number[]> {
  const acknowledged: number[] = [];
  const controller = new AbortController();
  await using application = openConnection(await stack.application(), { max: 4, signal: controller.signal });
  const writers = [0, 1, 2, 3].map(async (writer) => {
    for (let number = writer; ; number += 4) {
      const event = application.sql.json({ event_type: "Counted", event_data: { number } });
      await application.sql`select event_store.append_events('Counter', gen_random_uuid(), 0, array[${event}]::jsonb[])`;
      acknowledged.push(number);
    }
  });
  const failed = Promise.allSettled(writers);
  await Promise.race([failed, enough(acknowledged)]);
  await killServer(stack);
  await failed;
  controller.abort();
  return acknowledged;
}

async function enough(acknowledged: readonly number[]): Promise<void> {
  while (acknowledged.length < 200) await sleep(5);
}

async function killServer(stack: TestStack): Promise<void> {
  const postmaster = await findPostmaster(stack.dataDir);
  assert.equal(postmaster.state, "running");
  process.kill(postmaster.pid, "SIGKILL");
  while (isAlive(postmaster.pid)) await sleep(5);
}
