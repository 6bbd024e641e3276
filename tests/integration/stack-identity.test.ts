import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { BootstrapResult } from "../../scripts/lib/stack/bootstrap.ts";
import type { StackState } from "../../scripts/lib/stack/state.ts";
import { runForData, runScript, type ScriptRun, startProgram, startScript } from "../support/run-script.ts";
import { makeTestStack, type TestStack } from "../support/stack.ts";

/** A running stack with one event; each test copies it. */
let original: TestStack;
let folder: string;
before(async () => {
  original = await makeTestStack();
  folder = await mkdtemp(join(tmpdir(), "cqrs-identity-"));
  await runForData(["bootstrap"], original);
  await append(original);
});
after(async () => {
  await original[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** Commands that would reach a server, with credentials. */
const commands = [
  ["bootstrap"],
  ["status"],
  ["status", "--env"],
  ["seed"],
  ["projections", "list"],
  ["backup"],
  ["restore", "latest", "--yes"],
  ["schema", "status"],
  ["secrets", "rotate"],
  ["wait-for", "postgres", "--timeout", "2s"],
];

/** How a stack gets to another folder, and whether its server was running meanwhile. */
const copies: readonly (readonly [string, (from: string, to: string) => unknown, boolean])[] = [
  ["cp -a", (from, to) => run("cp", "-a", from, to), false],
  ["a recursive copy while the server is running", copyFiles, true],
  ["tar", unpack, false],
];

for (const [how, copy, isRunning] of copies) {
  test(`a stack that was copied by ${how} never reaches the server of the original, and can be adopted`, async () => {
    if (!isRunning) await runForData(["stop"], original);
    const copied = stackIn(`copy ${how}`);
    await copy(original.stackDir, copied.stackDir);
    const { port } = await runForData<BootstrapResult>(["bootstrap"], original);
    const tried = how === "cp -a" ? commands : commands.slice(0, 2);
    for (const words of tried) await assertRefused(await runScript(words, copied), "OTHER_CLUSTER", 8);
    assert.match((await connects(copied)).stderr, /is a copy of/);
    if (isRunning) await assertRefused(await runScript(["bootstrap", "--adopt"], copied), "REFUSED", 8);

    const adopted = await runForData<BootstrapResult>(["bootstrap", "--adopt", "--yes"], copied);
    try {
      assert.notEqual(adopted.port, port);
      assert.equal((await connects(copied)).stdout, "cqrs_user\n");
      assert.equal((await runForData<BootstrapResult>(["bootstrap"], copied)).isChanged, false);
      await append(copied);
      assert.deepEqual([await countEvents(original), await countEvents(copied)], [1, 2]);
    } finally {
      await runForData(["destroy", "--yes"], copied);
    }
  });
}

test("an adoption that is killed before the secret is written leaves a stack that is still refused", async () => {
  await runForData(["stop"], original);
  const copied = stackIn("killed");
  await copyFiles(original.stackDir, copied.stackDir);
  const script = startProgram("scripts/bootstrap.ts", ["--adopt"], { env: { CQRS_STACK_DIR: copied.stackDir } });
  // Later than the point at which other bootstraps save the state, and before the secret is written.
  await script.saw("roles: ");
  script.kill("SIGKILL");
  await script.ended;
  await runForData(["bootstrap"], original);
  await assertRefused(await runScript(["seed"], copied), "OTHER_CLUSTER", 8);
  await runForData(["bootstrap", "--adopt"], copied);
  assert.equal(await countEvents(copied), 1);
  await runForData(["destroy", "--yes"], copied);
});

test("the application of a copied stack without a state does not reach the server of the original either", async () => {
  await runForData(["stop"], original);
  const copied = stackIn("stateless");
  await copyFiles(original.stackDir, copied.stackDir);
  await rm(join(copied.stackDir, "state.json"));
  await runForData(["bootstrap"], original);
  const { exitCode, stderr } = await connects(copied);
  assert.notEqual(exitCode, 0);
  assert.match(stderr, /PostgreSQL is not running/);
  assert.equal(await countEvents(original), 1);
});

test("a stack that is moved keeps its data and its port", async () => {
  const { port } = await runForData<BootstrapResult>(["bootstrap"], original);
  const moved = stackIn("moved");
  await runForData(["stop"], original);
  await rename(original.stackDir, moved.stackDir);
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], moved)).port, port);
  assert.equal(await countEvents(moved), 1);
  assert.equal((await connects(moved)).stdout, "cqrs_user\n");
  await runForData(["stop"], moved);
  await rename(moved.stackDir, original.stackDir);
  await runForData(["bootstrap"], original);
});

test("a stack that is moved while its server is running has to be stopped first, and loses nothing", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await append(stack);
  const moved = stackIn("moved-while-running");
  await rename(stack.stackDir, moved.stackDir);
  try {
    assert.equal((await connects(moved)).stdout, "cqrs_user\n");
    const { exitCode, stderr } = await runScript(["bootstrap"], moved);
    assert.equal(exitCode, 8, stderr);
    assert.match(stderr, /was moved while its server was running.*fix: Run bun run stop && bun run bootstrap/s);
    await runForData(["stop"], moved);
    await runForData(["bootstrap"], moved);
    assert.equal(await countEvents(moved), 1);
  } finally {
    await runScript(["stop"], moved);
    await rename(moved.stackDir, stack.stackDir);
  }
});

test("a stack that comes back from an archive after the original is gone keeps its port", async () => {
  await using stack = await makeTestStack();
  const { port } = await runForData<BootstrapResult>(["bootstrap"], stack);
  await runForData(["stop"], stack);
  const aside = join(folder, "aside");
  // The copy exists before the original is deleted, so that it cannot get the same inode.
  await copyFiles(stack.stackDir, aside);
  await rm(stack.stackDir, { recursive: true });
  await rename(aside, stack.stackDir);
  await assertRefused(await runScript(["bootstrap"], stack), "OTHER_CLUSTER", 8);
  assert.equal((await runForData<BootstrapResult>(["bootstrap", "--adopt"], stack)).port, port);
});

test("a data directory of another stack, or a state of another stack, is refused and can be adopted", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await runForData(["stop"], stack);
  await runForData(["stop"], original);
  const { stackDir } = stackIn("exchanged");
  const exchanged = { stackDir };
  await copyFiles(stack.stackDir, stackDir);
  await cp(join(original.stackDir, "state.json"), join(stackDir, "state.json"));
  await assertRefused(await runScript(["bootstrap"], exchanged), "OTHER_CLUSTER", 8);
  await rm(join(stack.dataDir), { recursive: true });
  await copyFiles(original.dataDir, stack.dataDir);
  for (const words of commands.slice(0, 2)) await assertRefused(await runScript(words, stack), "OTHER_CLUSTER", 8);
  assert.match((await connects(stack)).stderr, /is not the cluster that|is a copy of/);
  await runForData(["bootstrap"], original);
  await runForData(["bootstrap", "--adopt"], stack);
  assert.equal(await countEvents(stack), 1);
});

test("a deleted data directory is not replaced by an empty one unnoticed", async () => {
  await using stack = await makeTestStack();
  await runForData(["bootstrap"], stack);
  await runForData(["stop"], stack);
  for (const what of [stack.dataDir, join(stack.stackDir, "postgres")]) {
    await rm(what, { recursive: true });
    for (const words of commands.slice(0, 2)) await assertRefused(await runScript(words, stack), "CLUSTER_GONE", 8);
    assert.match((await connects(stack)).stderr, /data directory of this stack is gone/);
    const { steps } = await runForData<BootstrapResult>(["bootstrap", "--adopt"], stack);
    assert.equal(steps.find(({ name }) => name === "cluster")?.isChanged, true);
    await runForData(["bootstrap"], stack);
    await runForData(["stop"], stack);
  }
});

test("an application is told that its own server is stopped, and sends nothing to another one on that port", async () => {
  const { port } = await runForData<BootstrapResult>(["bootstrap"], original);
  await runForData(["stop"], original);
  await using other = await makeTestStack();
  await runForData(["bootstrap", "--port", `${port}`], other);
  assert.match((await connects(original)).stderr, /PostgreSQL is not running/);
  const waiting = startScript(["wait-for", "postgres"], original);
  await waiting.saw("PostgreSQL is not running");
  waiting.kill("SIGTERM");
  assert.equal((await waiting.ended).exitCode, 143);
  await using connection = openConnection(await other.administrator());
  const logs = await connection.sql<{ log: string }[]>`select pg_read_file(pg_current_logfile()) as log`;
  assert.doesNotMatch(logs[0]?.log ?? "", /password authentication failed/);
  await runForData(["stop"], other);
  await runForData(["bootstrap"], original);
});

test("an application whose secret names another port than its server's is refused", async () => {
  const file = join(original.stackDir, "secrets/secret/cqrs-spike/database-local");
  const { port } = await runForData<BootstrapResult>(["bootstrap"], original);
  await using other = await makeTestStack();
  await cp(original.stackDir, other.stackDir, { recursive: true, filter: (path) => !path.includes("postgres") });
  await rm(join(other.stackDir, "state.json"));
  await rm(join(other.stackDir, "stack.lock"), { force: true });
  await runForData(["bootstrap"], other);
  const kept = join(other.stackDir, "secrets/secret/cqrs-spike/database-local");
  await rm(kept, { recursive: true });
  await cp(file, kept, { recursive: true });
  assert.match((await connects(other)).stderr, new RegExp(`the secret names port ${port}`));
});

test("a stack from before adopts its own cluster at the next bootstrap", async () => {
  await using stack = await makeTestStack();
  const { port } = await runForData<BootstrapResult>(["bootstrap"], stack);
  const file = join(stack.stackDir, "state.json");
  const { cluster, version, ...earlier } = JSON.parse(await readFile(file, "utf8")) as StackState;
  await writeFile(file, JSON.stringify(earlier));
  assert.equal((await connects(stack)).stdout, "cqrs_user\n");
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], stack)).port, port);
  const state = JSON.parse(await readFile(file, "utf8")) as StackState;
  assert.deepEqual([state.cluster, state.version], [cluster, version]);
});

test("a bootstrap that is killed after it has made the cluster can be repeated", async () => {
  await using stack = await makeTestStack();
  const script = startProgram("scripts/bootstrap.ts", [], { env: { CQRS_STACK_DIR: stack.stackDir } });
  await script.saw("cluster: created");
  script.kill("SIGKILL");
  await script.ended;
  await runForData(["bootstrap"], stack);
  assert.equal((await runForData<BootstrapResult>(["bootstrap"], stack)).isChanged, false);
});

function stackIn(name: string): TestStack {
  const stackDir = join(folder, name.replaceAll(" ", "-"));
  return { ...original, stackDir, dataDir: join(stackDir, "postgres/data") };
}

function run(program: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

/** Copies content and modes as rsync does. A running server may remove files meanwhile. */
async function copyFiles(from: string, to: string): Promise<void> {
  spawnSync("cp", ["-a", from, to]);
}

async function unpack(from: string, to: string): Promise<void> {
  await mkdir(to);
  run("tar", "-C", from, "-cf", `${to}.tar`, ".");
  run("tar", "-C", to, "-xpf", `${to}.tar`);
}

async function assertRefused({ exitCode, stderr }: ScriptRun, code: string, expected: number): Promise<void> {
  assert.equal(exitCode, expected, stderr);
  assert.match(stderr, { OTHER_CLUSTER: /--adopt/, CLUSTER_GONE: /is gone.*--adopt/s, REFUSED: /--yes/ }[code] ?? /^$/);
  assert.doesNotMatch(stderr, /^ +at /m);
}

/** Runs an application in the folder of a stack. */
function connects({ stackDir }: Pick<TestStack, "stackDir">): Promise<ScriptRun> {
  const env = { CQRS_STACK_DIR: stackDir };
  return startProgram("tests/support/fixtures/connects.ts", [], { env }).ended;
}

async function append(stack: Pick<TestStack, "stackDir">): Promise<void> {
  await using connection = await openApplication(stack);
  await connection.sql`
    select event_store.append_events('Order', gen_random_uuid(), 0,
      array[jsonb_build_object('event_type', 'Placed', 'event_data', '{}'::jsonb)])`;
}

async function countEvents(stack: Pick<TestStack, "stackDir">): Promise<number> {
  await using connection = await openApplication(stack);
  const [row] = await connection.sql<{ count: number }[]>`select count(*)::int from event_store.domain_event`;
  return row?.count ?? -1;
}

async function openApplication({ stackDir }: Pick<TestStack, "stackDir">) {
  const { applicationTarget } = await import("../../scripts/lib/stack/stack.ts");
  const { openTestStack } = await import("../support/stack.ts");
  return openConnection(await applicationTarget(await openTestStack(stackDir)));
}
