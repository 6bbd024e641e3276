import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { StackStatus } from "../../scripts/lib/operations/status.ts";
import { connectionUrl } from "../../scripts/lib/postgres/target.ts";
import { openStackStore } from "../../scripts/lib/stack/open-store.ts";
import type { StackState } from "../../scripts/lib/stack/state.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { runForData, runScript } from "../support/run-script.ts";
import { makeTestStack, openTestStack, sharedStack, type TestStack, withCluster } from "../support/stack.ts";

test("a stack that a newer version has set up gets a warning from commands, status and applications", async () => {
  await using stack = await withCluster();
  const state = await readState(stack);
  await writeState(stack, { ...state, version: "99.1.0" });
  const warning = /warning: cqrs-postgres 99\.1\.0 has set up this stack, and this is the older .*: install 99\.1\.0/;
  for (const words of [["bootstrap"], ["schema", "status"]]) {
    assert.match((await runScript(words, stack)).stderr, warning, words.join(" "));
  }
  const { setUpBy, stackProblems } = await runForData<StackStatus>(["status"], stack);
  assert.deepEqual([setUpBy, stackProblems.length], ["99.1.0", 1]);
  const { logger, reports } = recordingLogger();
  await using _store = await openStackStore(await openTestStack(stack.stackDir), { logger });
  assert.match(JSON.stringify(reports), /99\.1\.0 has set up this stack/);
  assert.equal((await readState(stack)).version, "99.1.0", "an older version does not hide the newer one");

  await writeState(stack, { ...state, version: "0.0.1" });
  assert.match(
    (await runScript(["bootstrap"], stack)).stderr,
    /^cqrs-postgres 0\.0\.1 has set up this stack; this is/m,
  );
  assert.deepEqual((await runForData<StackStatus>(["status"], stack)).stackProblems, []);
});

test("an external server is recorded, and another one is reported", async () => {
  await using server = await sharedStack();
  await using other = await withCluster();
  await using stack = await makeTestStack();
  await runForData(["bootstrap", "--mode", "external", "--yes"], await onServer(stack, other));
  const { cluster } = await readState(stack);
  assert.match(cluster?.systemIdentifier ?? "", /^\d+$/);
  const elsewhere = await onServer(stack, server);
  const { stackProblems } = await runForData<StackStatus>(["status"], elsewhere);
  assert.match(stackProblems.join(), new RegExp(`the last bootstrap set up ${cluster?.systemIdentifier}`));
  assert.deepEqual((await runForData<StackStatus>(["status"], await onServer(stack, other))).stackProblems, []);
});

async function onServer({ stackDir }: TestStack, server: TestStack) {
  return { stackDir, env: { DATABASE_URL: connectionUrl(await server.administrator()) } };
}

async function readState({ stackDir }: TestStack): Promise<StackState> {
  return JSON.parse(await readFile(join(stackDir, "state.json"), "utf8")) as StackState;
}

async function writeState({ stackDir }: TestStack, state: StackState): Promise<void> {
  await writeFile(join(stackDir, "state.json"), JSON.stringify(state));
}
