// Runs the tests on Bun and on Deno, and closes with one line: N passed, N failed, N skipped.
//
// Each file runs in a process of its own, with a time limit, two at once; each of the two lanes has a cluster, of which
// the files clone a database. What a file prints is shown when it failed, or was named: names of files choose what is run;
// without any, everything is. `--soak` runs every test that kills, races or guesses as often as the project promises.
// CQRS_TEST_RUNTIMES=bun (or deno) leaves the other runtime out.
import { chmod, glob, mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { destroyTestStack, withCluster } from "./stack.ts";
import { type FileResult, runTestFile, type TestFile, testRuntimes } from "./test-file.ts";

const soakRounds = "20";
const minuteMs = 60_000;
/** Nothing is to take so long; it only ends a file that hangs. */
const fileTimeoutMs = { normal: 8 * minuteMs, soak: 60 * minuteMs };
/** More lanes are no faster on two cores, and fewer leave one idle: many tests wait for a server to start or stop. */
const laneCount = Math.min(2, availableParallelism());
const suites = ["tests/unit", "tests/integration"];

async function runSuites(words: readonly string[]): Promise<void> {
  const isSoak = words.includes("--soak");
  const chosen = words.filter((word) => !word.startsWith("--"));
  const files = chosen.length > 0 ? chosen : await findTests();
  const runtimes = chooseRuntimes(process.env["CQRS_TEST_RUNTIMES"]);
  const queue: TestFile[] = runtimes.flatMap((runtime) => files.map((file) => ({ runtime, file })));
  const settings = {
    timeoutMs: isSoak ? fileTimeoutMs.soak : fileTimeoutMs.normal,
    env: { ...process.env, ...(isSoak ? { CQRS_TEST_ROUNDS: soakRounds } : {}) },
    signal: abortedBySignals(),
  };
  const results: FileResult[] = [];
  const lanes = Array.from({ length: Math.min(laneCount, queue.length) }, () =>
    runLane(queue, settings, (result) => {
      results.push(result);
      show(result, chosen.length > 0);
    }),
  );
  const failures = (await Promise.allSettled(lanes)).filter((lane) => lane.status === "rejected");
  for (const { reason } of failures) process.stderr.write(`${reason?.stack ?? reason}\n`);
  report(results, failures.length + queue.length);
}

async function findTests(): Promise<string[]> {
  const files: string[] = [];
  for (const suite of suites) {
    for await (const file of glob(`${suite}/**/*.test.ts`, { cwd: assetsDir })) files.push(file);
  }
  return files.toSorted();
}

function chooseRuntimes(wanted: string | undefined): TestFile["runtime"][] {
  const names = wanted?.split(",") ?? testRuntimes;
  const unknown = names.find((name) => !(testRuntimes as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`CQRS_TEST_RUNTIMES names ${testRuntimes.join(" or ")}, not "${unknown}"`);
  return names as TestFile["runtime"][];
}

/**
 * Tests run in process groups of their own, so Ctrl-C doesn't reach them; the lanes end them and remove their clusters.
 * A signal may come twice, from the terminal and from `bun run`: the second must not end the clean-up.
 */
function abortedBySignals(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => controller.abort(name));
  return controller.signal;
}

interface LaneSettings {
  readonly timeoutMs: number;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

async function runLane(
  queue: TestFile[],
  { env, ...settings }: LaneSettings,
  onResult: (result: FileResult) => void,
): Promise<void> {
  const workDir = await mkdtemp(join(tmpdir(), "cqrs-lane-"));
  await chmod(workDir, 0o711);
  const stack = await withCluster();
  try {
    const laneEnv = { ...env, CQRS_TEST_STACK: stack.stackDir };
    while (queue.length > 0 && !settings.signal.aborted) {
      const next = queue.shift() as TestFile;
      onResult(await runTestFile(next, { ...settings, env: laneEnv, workDir }));
    }
  } finally {
    await destroyTestStack(stack.stackDir);
    await rm(workDir, { recursive: true, force: true });
  }
}

function show(result: FileResult, isWhole: boolean): void {
  const { runtime, file, seconds, passed, failed, skipped, output } = result;
  const counts = `${passed} passed, ${failed} failed, ${skipped.length} skipped`;
  if (failed > 0 || isWhole) process.stdout.write(`\n${output}\n`);
  process.stdout.write(`${runtime.padEnd(4)} ${file}  ${seconds.toFixed(1)} s  (${counts})\n`);
}

/** @param missing lanes that broke and files that were not run; each counts as a failure */
function report(results: readonly FileResult[], missing: number): void {
  for (const { file, runtime, skipped } of results) {
    for (const name of skipped) process.stdout.write(`skipped: ${name} (${file} on ${runtime})\n`);
  }
  for (const { file, runtime, failed, problem } of results) {
    if (failed > 0)
      process.stdout.write(`FAILED: ${file} on ${runtime}${problem === undefined ? "" : `: ${problem}`}\n`);
  }
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0) + missing;
  const skipped = results.reduce((sum, result) => sum + result.skipped.length, 0);
  process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

await runSuites(process.argv.slice(2));
