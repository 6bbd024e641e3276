// The server of createTestStore(): how it starts, what it survives, and what it leaves behind.
import assert from "node:assert/strict";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { readSystemIdentifier } from "../../scripts/lib/postgres/server/cluster.ts";
import { readStartTime } from "../../scripts/lib/process.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { openTestCluster, stopTestCluster } from "../../scripts/lib/testing/test-server.ts";
import { openTestStore } from "../../scripts/lib/testing/test-store.ts";
import { newOrder, orderPlaced } from "../support/event-store.ts";
import { copyProject } from "../support/project-copy.ts";
import { type ProgramOptions, runForData, runScript, startProgram } from "../support/run-script.ts";
import { bootstrapTestStack, silentRun } from "../support/stack.ts";
import {
  asSuperuser,
  databasesLike,
  makeTestServerFolder,
  type TestServerFolder,
  testServerPid,
} from "../support/test-stores.ts";

const fixture = "tests/support/fixtures/test-store.ts";

interface Printed {
  readonly database: string;
  readonly port: string;
  readonly position: string;
}

test("several processes at once create one server and one template; settings of other servers are ignored", async () => {
  await using folder = await makeTestServerFolder();
  const elsewhere = {
    DATABASE_URL: "postgres://someone:secret@db.invalid:5432/production",
    PGHOST: "db.invalid",
    CQRS_MODE: "external",
    POSTGRES_PORT: "1",
    POSTGRES_USER: "someone",
    VAULT_ADDR: "http://vault.invalid",
  };
  const printed = await Promise.all([{}, {}, elsewhere].map((env) => runTest(folder, env)));
  assert.deepEqual(
    printed.map(({ position }) => position),
    ["1", "1", "1"],
  );
  const [port, ...otherPorts] = new Set(printed.map((one) => one.port));
  assert.deepEqual(otherPorts, []);
  assert.match(await readFile(join(folder.dataDir, "postmaster.pid"), "utf8"), new RegExp(`^${port}$`, "m"));
  assert.equal(new Set(printed.map(({ database }) => database)).size, 3);
  assert.equal((await databasesLike(folder, "cqrs_template_")).length, 1);
  assert.deepEqual(await databasesLike(folder, "cqrs_test_"), []);
});

test("a killed test leaves a database, which the next process drops; those of running processes stay", async () => {
  await using folder = await makeTestServerFolder();
  const [killed, running] = [1, 2].map(() => startTest(folder, ["hold"]));
  assert.ok(killed && running);
  await Promise.all([killed.saw("holding"), running.saw("holding")]);
  killed.kill("SIGKILL");
  await killed.ended;
  // The pid of a running process, but another start time: the pid was used before.
  const recycled = `cqrs_test_${process.pid}_${Number(readStartTime(process.pid)) - 1}_0badcafe`;
  await asSuperuser(folder, (sql) => sql.unsafe(`create database ${recycled}`));
  assert.equal((await databasesLike(folder, "cqrs_test_")).length, 3);
  await runTest(folder);
  const left = await databasesLike(folder, "cqrs_test_");
  assert.deepEqual(
    left.map((name) => name.split("_")[2]),
    [`${running.child.pid}`],
  );
  running.kill("SIGKILL");
  await running.ended;
});

test("after kill -9 of the server, the next store starts it again, and the killed test can be disposed of", async () => {
  await using folder = await makeTestServerFolder();
  const interrupted = await openTestStore(folder.stackDir, { logger: false });
  const before = await readSystemIdentifier(folder.dataDir);
  const pid = await testServerPid(folder);
  process.kill(pid, "SIGKILL");
  await pollUntil(() => (readStartTime(pid) === undefined ? true : undefined), { timeoutMs: 10_000, intervalMs: 20 });
  await interrupted[Symbol.asyncDispose]();
  await using store = await openTestStore(folder.stackDir, { logger: false });
  const { lastPosition } = await appendEvents(store, newOrder(), [orderPlaced]);
  assert.equal(lastPosition, 1n);
  assert.equal(await readSystemIdentifier(folder.dataDir), before, "the cluster is the same");
});

test("a cluster that does not start, or whose machine went down while it was running, is created again", async () => {
  await using folder = await makeTestServerFolder();
  await runTest(folder);
  const first = await readSystemIdentifier(folder.dataDir);
  await stop(folder);
  await rm(join(folder.dataDir, "pg_xact"), { recursive: true });
  const { position } = await runTest(folder);
  assert.equal(position, "1");
  const second = await readSystemIdentifier(folder.dataDir);
  assert.notEqual(second, first);
  const pidFile = join(folder.dataDir, "postmaster.pid");
  const lines = (await readFile(pidFile, "utf8")).split("\n");
  await stop(folder);
  // Started in 1970, by a process that is gone.
  await writeFile(pidFile, lines.with(0, "999999999").with(2, "1000").join("\n"));
  await runTest(folder);
  assert.notEqual(await readSystemIdentifier(folder.dataDir), second);
});

test("if another program has taken its port, the server moves", async () => {
  await using folder = await makeTestServerFolder();
  const { port } = await runTest(folder);
  await stop(folder);
  const taken = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => taken.listen(Number(port), "127.0.0.1", resolve));
  const moved = await runTest(folder);
  assert.notEqual(moved.port, port);
  assert.equal(moved.position, "1");
  await new Promise((resolve) => taken.close(resolve));
});

test("a server that answers on the port of the test server is refused", async () => {
  await using folder = await makeTestServerFolder();
  await using other = await makeTestServerFolder();
  await runTest(folder);
  await mkdir(join(other.stackDir, "test"), { recursive: true });
  // With the same passwords, so that nothing but its identity tells it apart.
  await cp(join(folder.stackDir, "test/secrets"), join(other.stackDir, "test/secrets"), { recursive: true });
  const { port } = await runTest(other);
  const pidFile = join(folder.dataDir, "postmaster.pid");
  const content = await readFile(pidFile, "utf8");
  await writeFile(pidFile, content.split("\n").with(3, port).join("\n"));
  await assert.rejects(openTestStore(folder.stackDir, { logger: false }), {
    code: "NOT_A_TEST_SERVER",
    exitCode: 8,
    message: `The server on port ${port} is not the one of the tests`,
  });
  await writeFile(pidFile, content);
  assert.deepEqual(await databasesLike(other, "cqrs_test_"), []);
});

test("another stack in the folder of the test server is refused, and neither changed nor deleted", async () => {
  await using folder = await makeTestServerFolder();
  const stackDir = join(folder.stackDir, "test");
  await bootstrapTestStack(stackDir);
  for (const isRunning of [true, false]) {
    if (!isRunning) await runForData(["stop"], { stackDir });
    await assert.rejects(openTestStore(folder.stackDir, { logger: false }), {
      code: "NOT_A_TEST_SERVER",
      exitCode: 8,
      message: `${folder.dataDir} is not a cluster for tests`,
    });
    assert.match((await runScript(["destroy", "--yes"], folder)).stdout, /nothing to destroy/);
    assert.match((await runScript(["stop", "--test"], folder)).stdout, /nothing was running/);
    const { exitCode } = await runScript(["status"], { stackDir });
    assert.equal(exitCode, isRunning ? 0 : 3);
  }
  assert.ok(await readSystemIdentifier(folder.dataDir));
});

test("a changed schema file makes another template; two old ones are kept, and half a template is built again", async () => {
  await using folder = await makeTestServerFolder();
  await using copy = await copyProject();
  const program = join(copy.dir, "probe.ts");
  const library = JSON.stringify(join(copy.dir, "scripts/lib/testing/index.ts"));
  await writeFile(
    program,
    `import { createTestStore } from ${library};
    await using store = await createTestStore({ logger: false });
    const [row] = await store.sql\`select coalesce(max(n), 0)::int as n from read_model.probe\`.catch(() => [{ n: -1 }]);
    console.log(row.n);`,
  );
  const probe = async () => Number((await runProgram(program, folder)).trim());
  assert.equal(await probe(), -1);
  const migration = join(copy.dir, "sql/migrations/9001-probe.sql");
  for (const n of [1, 2, 3]) {
    const grant = "grant select on read_model.probe to :{app};";
    await writeFile(migration, `create table read_model.probe as select ${n} as n;\n${grant}\n`);
    assert.equal(await probe(), n);
  }
  const templates = await databasesLike(folder, "cqrs_template_");
  assert.equal(templates.length, 3);
  // As a killed process leaves them: a template has its name only once it is complete.
  for (const name of templates) {
    await asSuperuser(folder, async (sql) => {
      await sql.unsafe(`drop database ${name}`);
      await sql.unsafe(`create database ${name}_building`);
    });
  }
  assert.equal(await probe(), 3);
});

test("stop, status and destroy tell the two servers of a project apart", async () => {
  await using folder = await makeTestServerFolder();
  await runTest(folder);
  const status = await runScript(["status"], folder);
  assert.equal(status.exitCode, 3, "no server but that of the tests");
  assert.match((await runScript(["stop"], folder)).stdout, /nothing was running/);
  const pid = await testServerPid(folder);
  assert.match((await runScript(["stop", "--test"], folder)).stdout, new RegExp(`stopped PostgreSQL \\(pid ${pid}\\)`));
  assert.match((await runScript(["stop", "--test"], folder)).stdout, /nothing was running/);
  await bootstrapTestStack(folder.stackDir);
  await runTest(folder);
  const running = await runForData<{ port: number }>(["status"], folder);
  assert.notEqual(running.port, 0);
  await runForData(["stop"], folder);
  assert.ok(await testServerPid(folder), "stop leaves the server of the tests alone");
  const refused = await runScript(["destroy"], folder);
  assert.equal(refused.exitCode, 8);
  assert.match(refused.stderr, new RegExp(`deletes: ${folder.dataDir} \\(the test server\\)`));
  const destroyed = await runScript(["destroy", "--yes"], folder);
  assert.match(destroyed.stdout, new RegExp(`destroyed ${folder.stackDir}/postgres/data and ${folder.dataDir}`));
  assert.match((await runScript(["destroy", "--yes"], folder)).stdout, /nothing to destroy/);
  await runTest(folder);
  const alone = await runScript(["destroy", "--yes"], folder);
  assert.match(alone.stdout, new RegExp(`^destroyed ${folder.dataDir}$`, "m"));
});

async function stop({ stackDir }: TestServerFolder): Promise<void> {
  await stopTestCluster(await openTestCluster(stackDir), silentRun);
}

function startTest({ stackDir }: TestServerFolder, args: readonly string[] = [], env: ProgramOptions["env"] = {}) {
  return startProgram(fixture, args, { env: { CQRS_STACK_DIR: stackDir, ...env } });
}

async function runTest(folder: TestServerFolder, env: ProgramOptions["env"] = {}): Promise<Printed> {
  const { exitCode, stdout, stderr } = await startTest(folder, [], env).ended;
  assert.equal(exitCode, 0, stderr);
  return JSON.parse(stdout);
}

async function runProgram(file: string, { stackDir }: TestServerFolder): Promise<string> {
  const { exitCode, stdout, stderr } = await startProgram(file, [], { env: { CQRS_STACK_DIR: stackDir } }).ended;
  assert.equal(exitCode, 0, stderr);
  return stdout;
}
