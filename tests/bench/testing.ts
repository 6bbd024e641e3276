// What a store per test costs: `bun run bench testing [tests]`, by default 500.
//
// `node --test` runs the tests, in a process per file, with a test server of their own. A run that is killed follows:
// the next one must drop its databases.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { openTestStore } from "../../scripts/lib/testing/test-store.ts";
import { median } from "../support/benchmark.ts";
import { locateNode } from "../support/node.ts";
import { databasesLike, makeTestServerFolder, type TestServerFolder } from "../support/test-stores.ts";

const fileCount = 10;
const callsAlone = 40;
const aimMs = 200;

interface Suite extends AsyncDisposable {
  readonly folder: string;
  readonly files: readonly string[];
  /** Each test appends a line: milliseconds for the store, and for the whole test. */
  readonly times: string;
}

/** Prints the time per test and what is left behind. */
export async function benchmarkTesting(tests: number): Promise<void> {
  await using server = await makeTestServerFolder();
  await using suite = await writeSuite(Math.ceil(tests / fileCount));
  const startedAt = performance.now();
  await passed(startRunner(suite, server, suite.files));
  reportRun(await readTimes(suite), performance.now() - startedAt);
  await reportLeft("after the run", server);
  await killRun(suite, server);
  await passed(startRunner(suite, server, suite.files.slice(0, 1)));
  await reportLeft("after the next run", server);
  await reportAlone(server);
  await reportStop(server);
}

async function writeSuite(testsPerFile: number): Promise<Suite> {
  const folder = await mkdtemp(join(tmpdir(), "cqrs-bench-testing-"));
  const files = Array.from({ length: fileCount }, (_, index) => join(folder, `${index}.test.ts`));
  const text = testFile(testsPerFile);
  await Promise.all(files.map((file) => writeFile(file, text)));
  const times = join(folder, "times");
  return { folder, files, times, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

function testFile(tests: number): string {
  return `
import { appendFileSync } from "node:fs";
import { test } from "node:test";
import { appendEvents } from ${JSON.stringify(join(assetsDir, "scripts/lib/index.ts"))};
import { createTestStore } from ${JSON.stringify(join(assetsDir, "scripts/lib/testing/index.ts"))};
for (let number = 0; number < ${tests}; number++) {
  test(\`test \${number}\`, async () => {
    const startedAt = performance.now();
    const store = await createTestStore({ logger: false });
    const created = performance.now() - startedAt;
    await appendEvents(store, { type: "Order", id: crypto.randomUUID() }, [{ type: "OrderPlaced", data: {} }]);
    await store[Symbol.asyncDispose]();
    appendFileSync(process.env.TIMES, \`\${created} \${performance.now() - startedAt}\\n\`);
  });
}
`;
}

/** In a process group of its own, so that all of it can be killed. */
function startRunner({ times }: Suite, { stackDir }: TestServerFolder, files: readonly string[]): ChildProcess {
  const concurrency = `--test-concurrency=${availableParallelism()}`;
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, CQRS_STACK_DIR: stackDir, TIMES: times };
  const args = ["--test", "--test-reporter=dot", concurrency, ...files];
  return spawn(locateNode(), args, { env, detached: true, stdio: ["ignore", "ignore", "inherit"] });
}

async function passed(runner: ChildProcess): Promise<void> {
  const [exitCode] = await once(runner, "exit");
  if (exitCode !== 0) throw new Error(`the runner exited with ${exitCode}`);
}

async function readTimes({ times }: Suite): Promise<readonly (readonly number[])[]> {
  const lines = existsSync(times) ? (await readFile(times, "utf8")).trim().split("\n") : [];
  return lines.map((line) => line.split(" ").map(Number));
}

function reportRun(times: readonly (readonly number[])[], elapsedMs: number): void {
  const [created, whole] = [0, 1].map((column) => times.map((row) => row[column] ?? Number.NaN));
  const seconds = (elapsedMs / 1000).toFixed(1);
  console.log(`${times.length} tests in ${fileCount} files, ${availableParallelism()} at a time: ${seconds} s`);
  console.log(`createTestStore(): ${describe(created ?? [])}`);
  console.log(`a test with it:    ${describe(whole ?? [])}`);
}

function describe(values: readonly number[]): string {
  const sorted = values.toSorted((one, other) => one - other);
  const p90 = sorted[Math.floor(sorted.length * 0.9)] ?? Number.NaN;
  return `median ${median(values).toFixed(0)} ms, nine of ten within ${p90.toFixed(0)} ms`;
}

async function reportLeft(when: string, server: TestServerFolder): Promise<void> {
  console.log(`databases ${when}: ${(await databasesLike(server, "cqrs_test_")).length}`);
}

/** Kills all processes of a run in the middle of its tests. */
async function killRun(suite: Suite, server: TestServerFolder): Promise<void> {
  const runner = startRunner(suite, server, suite.files);
  const ended = once(runner, "exit");
  const hasDatabase = async () => ((await databasesLike(server, "cqrs_test_")).length > 0 ? true : undefined);
  await pollUntil(hasDatabase, { timeoutMs: 60_000, intervalMs: 10 });
  process.kill(-Number(runner.pid), "SIGKILL");
  await ended;
  await reportLeft("after kill -9", server);
}

/** One after the other, in this process. */
async function reportAlone({ stackDir }: TestServerFolder): Promise<void> {
  const times = [];
  for (let call = 0; call < callsAlone; call++) {
    const startedAt = performance.now();
    await using _store = await openTestStore(stackDir, { logger: false });
    times.push(performance.now() - startedAt);
  }
  console.log(`createTestStore() alone, on Bun: ${describe(times)}`);
  console.log(`aim: at most ${aimMs} ms, ${median(times) <= aimMs ? "met" : "MISSED"}`);
}

async function reportStop({ stackDir, dataDir }: TestServerFolder): Promise<void> {
  const stop = spawn(process.execPath, [join(assetsDir, "scripts/stop.ts"), "--test", "--quiet"], {
    env: { ...process.env, CQRS_STACK_DIR: stackDir },
    stdio: "inherit",
  });
  await once(stop, "exit");
  console.log(`server after stop --test: ${(await findPostmaster(dataDir)).state}`);
}
