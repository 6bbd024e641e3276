import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { after, before, beforeEach, test } from "node:test";
import { parseLsof, parseSs } from "../../scripts/lib/doctor/listener.ts";
import { repairAll } from "../../scripts/lib/doctor/repair.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { findStack } from "../../scripts/lib/stack/stack.ts";
import { diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import {
  bootstrapTestStack,
  makeTestStack,
  silentRun,
  type TestStack,
  testConfig,
  withCluster,
} from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
beforeEach(() => bootstrapTestStack(stack.stackDir));
after(() => stack[Symbol.asyncDispose]());

async function stop(): Promise<void> {
  await stopStack(await findStack(testConfig(stack.stackDir)), silentRun);
}

/** Stops the server and lets another program listen on its port. */
async function takePort(program: string): Promise<AsyncDisposable & { readonly pid: number; readonly port: number }> {
  const { port } = await stack.administrator();
  await stop();
  return await listen(program, port, "127.0.0.1");
}

async function listen(program: string, port: number, address: string) {
  const code = `require("node:net").createServer().listen(${port}, "${address}", () => console.log("listening"))`;
  const child: ChildProcess = spawn(process.execPath, ["-e", code], {
    argv0: program,
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout ?? child, "data");
  return {
    port,
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await once(child, "close");
    },
  };
}

test("a program that listens on the stack's port is found by its pid and command; once it ends, --fix starts the server", async () => {
  {
    await using taker = await takePort("my-service");
    // The other arguments may contain passwords.
    const evidence = new RegExp(`^pid ${taker.pid}: my-service -e …$`);
    const { cause } = await finds("port-taken", { evidence, fix: new RegExp(`kill ${taker.pid}.*--port`) }, stack);
    assert.equal(cause, `Port ${taker.port} is in use by another program.`);
  }
  await repair(stack);
  await isHealthy(stack);
});

test("a program on the same port of another address is not advised to be killed", async () => {
  const { port } = await stack.administrator();
  await using innocent = await listen("innocent", port, "127.0.0.2");
  await using taker = await takePort("my-service");
  const { evidence } = await finds(
    "port-taken",
    { evidence: /my-service/, fix: new RegExp(`kill ${taker.pid}\\b`) },
    stack,
  );
  assert.ok(!evidence.includes(`${innocent.pid}`));
});

test("the output of lsof and ss is read with the addresses", () => {
  const lsof = "p7\nf3\nn127.0.0.2:5432\np8\nf3\nn*:5432\nf4\nn[::1]:5432\n";
  assert.deepEqual(parseLsof(lsof), [
    { pid: 7, address: "127.0.0.2" },
    { pid: 8, address: "*" },
    { pid: 8, address: "[::1]" },
  ]);
  const ss =
    'LISTEN 0 128 127.0.0.1%lo:5432 0.0.0.0:* users:(("nginx",pid=7,fd=3),("nginx",pid=8,fd=3))\n' +
    "LISTEN 0 128 [::]:5432 [::]:*\n";
  assert.deepEqual(parseSs(ss), [
    { pid: 7, address: "127.0.0.1" },
    { pid: 8, address: "127.0.0.1" },
  ]);
  assert.deepEqual([parseLsof(""), parseSs("")], [[], []]);
});

test("a container that publishes the stack's port is told apart by Docker's proxy", async () => {
  await using taker = await takePort("/usr/bin/docker-proxy");
  const fix = new RegExp(`docker ps --filter publish=${taker.port}`);
  const { cause } = await finds("port-taken", { evidence: /docker-proxy/, fix }, stack);
  assert.equal(cause, `Port ${taker.port} is in use by a Docker container.`);
});

test("another PostgreSQL server on the stack's port is found with its data directory; --port moves the stack", async () => {
  const { port } = await stack.administrator();
  await stop();
  await using other = await makeTestStack();
  await bootstrapTestStack(other.stackDir, { port: `${port}` });
  const { cause } = await finds(
    "port-taken",
    { evidence: /^pid \d+: .*postgres/, fix: /bootstrap --port <number>/ },
    stack,
  );
  assert.equal(cause, `Port ${port} is in use by PostgreSQL 16 on ${other.dataDir}.`);
  await bootstrapTestStack(stack.stackDir, { port: `${port + 1}` });
  await isHealthy(stack);
});

test("a server that did not start is found with the reason of its log, and the setting to remove", async () => {
  const file = join(stack.dataDir, "postgresql.auto.conf");
  const healthy = await readFile(file, "utf8");
  for (const [line, evidence] of [
    ["shared_preload_libraries = 'none_such'", /FATAL: +could not access file "none_such"/],
    ["no_such_setting = on", /unrecognized configuration parameter "no_such_setting" .*\nFATAL: .* contains errors/],
    ["max_connections = 'many'", /invalid value for parameter "max_connections": "many"/],
  ] as const) {
    await stop();
    await appendFile(file, `${line}\n`);
    await assert.rejects(bootstrapTestStack(stack.stackDir), /exited during startup/);
    const fix = new RegExp(`remove it from .*postgresql\\.auto\\.conf, which has: ${line}\\.$`);
    await finds("server-start-failed", { evidence, fix }, stack);
    await writeFile(file, healthy);
    await bootstrapTestStack(stack.stackDir);
  }
  await isHealthy(stack);
});

test("a server that panics while it starts is found with the reason, and is healthy once its log is put back", async () => {
  await stop();
  const [wal, aside] = [join(stack.dataDir, "pg_wal"), join(stack.stackDir, "aside")];
  await rename(wal, aside);
  await mkdir(wal, { mode: 0o700 });
  await assert.rejects(bootstrapTestStack(stack.stackDir), /exited during startup/);
  const evidence = /PANIC: +could not locate a valid checkpoint record/;
  await finds("server-start-failed", { evidence, fix: /^Fix what its log reports .*bootstrap\.$/ }, stack);
  await rm(wal, { recursive: true });
  await rename(aside, wal);
  await bootstrapTestStack(stack.stackDir);
  await stop();
  await finds("server-stopped", { evidence: /No server is running/, fix: /bootstrap/ }, stack);
});

test("a server that is suspended is found within the time limit, and is healthy once it goes on", async () => {
  const found = await findPostmaster(stack.dataDir);
  assert.equal(found.state, "running");
  const pid = found.state === "running" ? found.pid : 0;
  process.kill(pid, "SIGSTOP");
  const limits = { connectTimeoutSeconds: 0.5 };
  await finds(
    "server-unreachable",
    { evidence: /CONNECT_TIMEOUT|no answer/i, fix: new RegExp(`kill -CONT ${pid} `) },
    stack,
    { limits },
  );
  const { notChecked } = await diagnosePlace(stack, { limits });
  assert.ok(notChecked.some(({ area, reason }) => area === "sessions" && reason.startsWith("Cannot use postgres://")));
  process.kill(pid, "SIGCONT");
  await isHealthy(stack);
});

test("a superuser whose password is another one than in the store is found; only bootstrap, which restarts the server, sets it", async () => {
  {
    await using admin = openConnection(await stack.administrator());
    await admin.sql.unsafe("alter role postgres password 'an older one'");
  }
  await using application = openConnection(await stack.application());
  const [session] = await application.sql`select pg_backend_pid() as pid`;
  const expected = { evidence: /password authentication failed/, fix: /bootstrap.*all sessions end/ };
  const found = await finds("administrator-refused", expected, stack);
  assert.equal(found.repair, undefined);
  assert.deepEqual(
    await repairAll(await diagnosePlace(stack), silentRun, { confirm: () => assert.fail("it asks") }),
    [],
  );
  assert.deepEqual((await application.sql`select pg_backend_pid() as pid`)[0], session);
  await application[Symbol.asyncDispose]();
  await bootstrapTestStack(stack.stackDir);
  await isHealthy(stack);
});
