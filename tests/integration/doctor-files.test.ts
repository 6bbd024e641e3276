import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, chown, cp, link, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, beforeEach, test } from "node:test";
import type { DoctorReport } from "../../scripts/lib/doctor/report.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { chooseAccount, serverEnvironment } from "../../scripts/lib/postgres/server/account.ts";
import { findBinaries } from "../../scripts/lib/postgres/server/binaries.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { bootstrap } from "../../scripts/lib/stack/bootstrap.ts";
import { administratorTarget, findStack } from "../../scripts/lib/stack/stack.ts";
import { diagnosePlace, finds, isHealthy, repair } from "../support/doctor.ts";
import { runtimeCommand } from "../support/runtime.ts";
import {
  bootstrapTestStack,
  makeTestStack,
  silentRun,
  type TestStack,
  testConfig,
  withCluster,
} from "../support/stack.ts";

let stack: TestStack;
let folder: string;
before(async () => {
  stack = await withCluster();
  folder = await mkdtemp(join(tmpdir(), "cqrs-doctor-"));
});
beforeEach(() => bootstrapTestStack(stack.stackDir));
after(async () => {
  await stack[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function stop(stackDir = stack.stackDir): Promise<void> {
  await stopStack(await findStack(testConfig(stackDir)), silentRun);
}

async function adopt(stackDir: string): Promise<void> {
  await bootstrap(testConfig(stackDir), silentRun, { adopt: true, confirm: async () => {} });
}

/** A log that goes on in a copy reports that first. */
async function beginEpoch(stackDir: string): Promise<void> {
  await finds("epoch-unreported", { evidence: /the data directory is /, fix: /begin_epoch/ }, { stackDir });
  await using admin = openConnection(await administratorTarget(await findStack(testConfig(stackDir))));
  await admin.sql`select event_store.begin_epoch('a copy')`;
}

async function runningPid(): Promise<number> {
  const found = await findPostmaster(stack.dataDir);
  assert.equal(found.state, "running");
  return found.state === "running" ? found.pid : 0;
}

/** Kills the server without a shutdown, and waits for its end. */
async function kill(): Promise<void> {
  const pid = await runningPid();
  process.kill(pid, "SIGKILL");
  await pollUntil(() => !isAlive(pid) || undefined, { timeoutMs: 60_000, intervalMs: 20 });
}

async function ids(): Promise<string[]> {
  return (await diagnosePlace(stack)).findings.map(({ id }) => id);
}

test("a server that was killed is found by its pid file, also if another program got the pid", async () => {
  await kill();
  await finds("pid-file-stale", { evidence: /names the pid \d+, which is not running/, fix: /bootstrap/ }, stack);
  assert.deepEqual(await ids(), ["pid-file-stale"]);
  await repair(stack);
  await isHealthy(stack);

  await kill();
  const file = join(stack.dataDir, "postmaster.pid");
  const [, ...others] = (await readFile(file, "utf8")).split("\n");
  await writeFile(file, [process.pid, ...others].join("\n"));
  await finds(
    "pid-file-stale",
    { evidence: new RegExp(`pid ${process.pid}, which now is .`), fix: /bootstrap/ },
    stack,
  );
  await repair(stack);
  await isHealthy(stack);

  await kill();
  await writeFile(file, "");
  await finds("pid-file-stale", { evidence: /names the pid/, fix: /bootstrap/ }, stack);
  await repair(stack);
  await isHealthy(stack);
});

test("a pid file that was deleted under the running server is found, and --fix starts it properly", async () => {
  const pid = await runningPid();
  await rm(join(stack.dataDir, "postmaster.pid"));
  const evidence = new RegExp(`process ${pid} serves`);
  const found = await finds("pid-file-removed", { evidence, fix: /stop && .*bootstrap/ }, stack);
  assert.match(found.repair?.description ?? "", /which ends all sessions/);
  await repair(stack);
  assert.notEqual(await runningPid(), pid);
  await isHealthy(stack);
});

test("a data directory with a mode that PostgreSQL refuses is found and corrected", async () => {
  await stop();
  for (const mode of [0o500, 0o777, 0o755]) {
    await chmod(stack.dataDir, mode);
    await finds("data-mode-wrong", { evidence: new RegExp(`mode 0${mode.toString(8)}`), fix: /chmod 0700/ }, stack);
  }
  // What the log now says of the failed start is explained by the mode.
  await assert.rejects(bootstrapTestStack(stack.stackDir), /exited during startup/);
  assert.deepEqual(await ids(), ["data-mode-wrong", "server-stopped"]);
  await repair(stack);
  await isHealthy(stack);
});

test("a data directory that its owner cannot read is not taken for an incomplete or a healthy one", async () => {
  await stop();
  const { dataDir } = stack;
  const give = (uid: number) => (isRoot ? run("chown", ["-R", `${uid}:${uid}`, stack.stackDir]) : undefined);
  give(65_534);
  for (const [folder, mode, id] of [
    [dataDir, 0o600, "data-mode-wrong"],
    [dataDir, 0, "data-mode-wrong"],
    [join(dataDir, "global"), 0, "data-unreadable"],
    [dirname(dataDir), 0, "data-unreadable"],
  ] as const) {
    await chmod(folder, mode);
    const { findings } = diagnoseAsOwner();
    assert.equal(findings[0]?.id, id, JSON.stringify(findings));
    assert.ok(!findings.some(({ fix }) => /delete/.test(fix)));
    await chmod(folder, 0o700);
  }
  give(0);
  await bootstrapTestStack(stack.stackDir);
  await isHealthy(stack);
});

const isRoot = process.getuid?.() === 0;

function run(program: string, words: readonly string[]): string {
  const { stdout, stderr, error } = spawnSync(program, words, { encoding: "utf8", env: ownerEnvironment() });
  assert.equal(error, undefined, stderr);
  return stdout;
}

const ownerEnvironment = () => ({ PATH: process.env["PATH"], CQRS_STACK_DIR: stack.stackDir });

/** Nothing is unreadable for root. */
function diagnoseAsOwner(): DoctorReport {
  const words = [...runtimeCommand("scripts/doctor.ts"), "--json"];
  const [program = "", ...args] = isRoot
    ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", ...words]
    : words;
  return (JSON.parse(run(program, args)) as { readonly data: DoctorReport }).data;
}

const rootOnly = isRoot ? false : "only root can give files to another user";

test("files of another owner in the data directory are found and corrected", { skip: rootOnly }, async () => {
  await stop();
  for (const name of ["PG_VERSION", "pg_hba.conf", "global/pg_control"]) {
    await chown(join(stack.dataDir, name), 12_345, 12_345);
    const evidence = new RegExp(`${name.replaceAll(".", "\\.")} belongs to uid 12345`);
    await finds("data-owner-wrong", { evidence, fix: /chown -R 0:0/ }, stack);
  }
  await repair(stack);
  assert.equal((await stat(join(stack.dataDir, "PG_VERSION"))).uid, 0);
  await isHealthy(stack);
});

test("a data directory whose owner is not that of its files is found, and is not given away", {
  skip: rootOnly,
}, async () => {
  await stop();
  await chown(stack.dataDir, 12_345, 12_345);
  const expected = { evidence: /would be uid 12345, but .* belongs to uid 0/, fix: /with 0:0 if .* 12345:12345 if/ };
  assert.equal((await finds("data-owner-wrong", expected, stack)).repair, undefined);
  await chown(stack.dataDir, 0, 0);
  await isHealthyOnceStarted();

  // Data of another user, of which root has copied one file.
  run("chown", ["-R", "65534:65534", stack.dataDir]);
  await chown(join(stack.dataDir, "PG_VERSION"), 0, 0);
  await finds("data-owner-wrong", { evidence: /PG_VERSION belongs to uid 0/, fix: /chown -R 65534:65534/ }, stack);
  run("chown", ["-R", "0:0", stack.dataDir]);
  await isHealthyOnceStarted();
});

async function isHealthyOnceStarted(): Promise<void> {
  await bootstrapTestStack(stack.stackDir);
  await isHealthy(stack);
  await stop();
}

test("a data directory that initdb left when it was killed is found; deleting it fixes it", async () => {
  await using half = await makeTestStack();
  await mkdir(half.dataDir, { recursive: true, mode: 0o700 });
  const account = chooseAccount(half.dataDir);
  const { initdb } = await findBinaries(account, process.env);
  const [program = "", ...words] = account.command(initdb, ["-D", half.dataDir, "-U", "postgres"]);
  const child = spawn(program, words, { ...account.identity, env: serverEnvironment, cwd: "/", stdio: "ignore" });
  const isBegun = () => existsSync(join(half.dataDir, "PG_VERSION")) || undefined;
  await pollUntil(isBegun, { timeoutMs: 60_000, intervalMs: 1 });
  child.kill("SIGKILL");
  await new Promise((resolve) => child.once("close", resolve));
  await finds(
    "data-incomplete",
    { evidence: /lacks .*global\/pg_control/, fix: /delete it and run .*bootstrap/ },
    half,
  );
  await rm(half.dataDir, { recursive: true, maxRetries: 5 });
  await bootstrapTestStack(half.stackDir);
  await isHealthy(half);
});

test("a data directory that lacks something is found, and is healthy once that is put back", async () => {
  await stop();
  for (const name of ["PG_VERSION", "global/pg_control", "pg_wal"]) {
    await rename(join(stack.dataDir, name), join(folder, "aside"));
    await finds("data-incomplete", { evidence: new RegExp(`lacks ${name}\\.`), fix: /put the files back/ }, stack);
    await rename(join(folder, "aside"), join(stack.dataDir, name));
  }
  await bootstrapTestStack(stack.stackDir);
  await isHealthy(stack);
});

test("a data directory of another major version is found", async () => {
  await stop();
  await writeFile(join(stack.dataDir, "PG_VERSION"), "15\n");
  await finds("data-version", { evidence: /PostgreSQL 16, which cannot read it/, fix: /pg_dumpall/ }, stack);
  await writeFile(join(stack.dataDir, "PG_VERSION"), "16\n");
  await bootstrapTestStack(stack.stackDir);
  await isHealthy(stack);
});

test("a stack that was copied is found, sends nothing to the original, and is healthy after its adoption", async () => {
  await stop();
  const copied = { stackDir: join(folder, "copied") };
  await cp(stack.stackDir, copied.stackDir, { recursive: true, preserveTimestamps: true });
  await bootstrapTestStack(stack.stackDir);
  await finds("cluster-copied", { evidence: /may lead to the server of the original/, fix: /--adopt/ }, copied);
  const { findings, notChecked } = await diagnosePlace(copied);
  assert.deepEqual(
    findings.map(({ id }) => id),
    ["cluster-copied", "port-taken"],
  );
  assert.ok(notChecked.some(({ area, reason }) => area === "server" && reason.includes("is a copy of")));
  await adopt(copied.stackDir);
  await beginEpoch(copied.stackDir);
  await isHealthy(copied);
  await stop(copied.stackDir);
});

test("a stack whose files were linked into another folder is found; deleting that folder fixes it", async () => {
  const linked = { stackDir: join(folder, "linked") };
  await mkdir(join(linked.stackDir, "postgres/data/global"), { recursive: true });
  await cp(join(stack.stackDir, "state.json"), join(linked.stackDir, "state.json"));
  for (const name of ["PG_VERSION", "global/pg_control", "pg_hba.conf"])
    await link(join(stack.dataDir, name), join(linked.stackDir, "postgres/data", name)).catch(() => undefined);
  for (const name of ["base", "pg_wal", "pg_xact"]) await mkdir(join(linked.stackDir, "postgres/data", name));
  await finds("cluster-shared", { evidence: /hard links/, fix: /delete the other one|real copy/ }, linked);
  await rm(linked.stackDir, { recursive: true });
  await isHealthy(stack);
});

test("a stack whose data directory was moved while it ran, is gone, or was replaced is found and healed", async () => {
  await using other = await withCluster();
  const moved = join(folder, "moved");
  await rename(other.stackDir, moved);
  const fix = /stop && .*bootstrap/;
  await finds("cluster-moved", { evidence: /still looks for its files in/, fix }, { stackDir: moved });
  await stop(moved);
  await bootstrapTestStack(moved);
  await finds(
    "epoch-unreported",
    { evidence: /the data directory is .*moved/, fix: /begin_epoch/ },
    { stackDir: moved },
  );
  await stop(moved);
  await rename(moved, other.stackDir);

  await bootstrapTestStack(other.stackDir);
  await isHealthy(other);
  await stop(other.stackDir);
  await rm(other.dataDir, { recursive: true });
  await finds("cluster-gone", { evidence: /Its events are gone/, fix: /Put it back.*--adopt/ }, other);
  await stop();
  await cp(stack.dataDir, other.dataDir, { recursive: true });
  await finds("cluster-replaced", { evidence: /system identifiers differ/, fix: /Put the right one back/ }, other);
  await adopt(other.stackDir);
  await beginEpoch(other.stackDir);
  await isHealthy(other);
});
