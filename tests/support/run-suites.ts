// Runs the tests on Bun, with `--all` on Deno too, and those of the sessions and of the package on Node.js. The last line
// is N passed, N failed, N skipped.
//
// Each file runs in a process of its own with a time limit. Several lanes run files concurrently; each lane has a cluster,
// and each file clones a database of it. File names on the command line select files; the output of a file is shown if it
// was selected or failed. `--soak` runs 20 rounds of every test that kills, races or guesses.
// CQRS_TEST_RUNTIMES=deno (or bun,deno,node) selects the runtimes instead of `--all`. CQRS_TEST_RERUN=1 runs a file that
// failed once more, alone, after all others. CQRS_TEST_PASSED names a list of files that another user has passed: those
// that are the same for every user do not run again. Data is kept below TMPDIR, on Bun in memory by default.
import { chmod, glob, mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { canRunNode } from "./node.ts";
import { packageSkip, sharedPackage } from "./package.ts";
import { describeUnstable, type RerunResults, rerunFailures } from "./rerun.ts";
import { destroyTestStack, withCluster } from "./stack.ts";
import { type FileResult, runTestFile, type TestFile, testRuntimes } from "./test-file.ts";
import { divideByPassed, integrationTest, isFor, isOfPackage, selectedFiles } from "./test-selection.ts";
import { chooseWorkFolder } from "./work-folder.ts";

const soakRounds = "20";
const minuteMs = 60_000;
/** No file should take this long: the limit only ends one that hangs. */
const fileTimeoutMs = { normal: 8 * minuteMs, soak: 60 * minuteMs };
/** One more than the number of cores: tests wait for servers to start and stop, and for time limits. */
const laneCount = Math.min(4, availableParallelism() + 1);
const suites = ["tests/unit", "tests/integration", "tests/package"];
/** These take 8 to 35 seconds each. They run first, so that all lanes finish at about the same time. */
const slowFiles = [
  "stack-identity",
  "testing-server",
  "visible-failures",
  "tls",
  "session-chaos",
  "pgbouncer",
  "secrets-leaks",
  "log-oracle",
  "log-crash-oracle",
  "vault-stack",
  "vault-local",
  "archive-crash",
  "verify-command",
  "verify-stack",
  "vault-failures",
  "bootstrap",
  "test-file",
  "crash",
  "rotation-vault",
  "restore",
  "vault-roles",
  "archive-options",
  "wait-for",
  "external-mode",
  "restore-redactions",
  "archive-application",
  "vault-kill",
  "roles",
  "dynamic",
].map(integrationTest);

async function runSuites(words: readonly string[]): Promise<void> {
  const isSoak = words.includes("--soak");
  const chosen = words.filter((word) => !word.startsWith("--"));
  const files = chosen.length > 0 ? chosen : await withoutPassed(await findTests());
  const runtimes = chooseRuntimes(words.includes("--all"), process.env["CQRS_TEST_RUNTIMES"]);
  const packageStage = runtimes.includes("node") ? "node" : chosen.length > 0 ? "bun" : undefined;
  await using shared = await packFor(packageStage === undefined ? [] : files);
  const settings = {
    timeoutMs: isSoak ? fileTimeoutMs.soak : fileTimeoutMs.normal,
    env: { ...process.env, ...(isSoak ? { CQRS_TEST_ROUNDS: soakRounds } : {}), ...shared.env },
    signal: abortedBySignals(),
  };
  const results: FileResult[] = [];
  const onResult = (result: FileResult) => {
    results.push(result);
    show(result, chosen.length > 0);
  };
  let missing = 0;
  for (const runtime of runtimes) {
    process.env["TMPDIR"] = await chooseWorkFolder(runtime);
    const queue = files.filter((file) => isFor(runtime, file)).map((file) => ({ runtime, file }));
    if (runtime === packageStage)
      queue.unshift(...files.filter(isOfPackage).map((file) => ({ runtime: "bun", file }) as const));
    if (runtime === "node" && !canRunNode) {
      for (const test of queue.splice(0)) onResult(skip(test));
    }
    missing += (await runLanes(queue, settings, onResult)) + queue.length;
  }
  const isRerun = process.env["CQRS_TEST_RERUN"] === "1";
  const runAgain = (test: TestFile) => runAlone(test, settings, onResult);
  report(isRerun ? await rerunFailures([...results], runAgain) : { results, unstable: [] }, missing);
}

/** A second user does not repeat what is the same for every user. */
async function withoutPassed(files: readonly string[]): Promise<readonly string[]> {
  const passedFile = process.env["CQRS_TEST_PASSED"];
  if (passedFile === undefined) return files;
  const { toRun, passed } = divideByPassed(files, await readFile(passedFile, "utf8"));
  process.stdout.write(`# ${passed.length} files passed as another user, and are not repeated: ${passed.join(" ")}\n`);
  return toRun;
}

/** @returns undefined if its lane failed, or if a signal ended the run */
async function runAlone(test: TestFile, settings: LaneSettings, onResult: OnResult): Promise<FileResult | undefined> {
  let found: FileResult | undefined;
  process.env["TMPDIR"] = await chooseWorkFolder(test.runtime);
  await runLanes([test], settings, (result) => {
    found = result;
    onResult(result);
  });
  return found;
}

/** Packs the product once, if any of the files needs it. */
async function packFor(files: readonly string[]): Promise<AsyncDisposable & { readonly env: NodeJS.ProcessEnv }> {
  const isNeeded = packageSkip === false && files.some(isOfPackage);
  if (!isNeeded) return { env: {}, async [Symbol.asyncDispose]() {} };
  const shared = await sharedPackage();
  return { env: { CQRS_TEST_PACKAGE: shared.tarball }, [Symbol.asyncDispose]: () => shared[Symbol.asyncDispose]() };
}

function skip(test: TestFile): FileResult {
  return {
    ...test,
    seconds: 0,
    passed: 0,
    failed: 0,
    failures: [],
    skipped: ["all tests"],
    problem: undefined,
    output: "",
  };
}

/** @returns the number of lanes that failed; files that did not run stay in the queue */
async function runLanes(queue: TestFile[], settings: LaneSettings, onResult: OnResult): Promise<number> {
  const lanes = Array.from({ length: Math.min(laneCount, queue.length) }, () => runLane(queue, settings, onResult));
  const failures = (await Promise.allSettled(lanes)).filter((lane) => lane.status === "rejected");
  for (const { reason } of failures) process.stderr.write(`${reason?.stack ?? reason}\n`);
  return failures.length;
}

async function findTests(): Promise<string[]> {
  const files: string[] = [];
  for (const suite of suites) {
    for await (const file of glob(`${suite}/**/*.test.ts`, { cwd: assetsDir })) files.push(file);
  }
  const missing = [...slowFiles, ...selectedFiles].filter((file) => !files.includes(file));
  if (missing.length > 0) throw new Error(`slowFiles or a list of selected files names ${missing.join()}`);
  return [...slowFiles, ...files.filter((file) => !slowFiles.includes(file)).toSorted()];
}

function chooseRuntimes(isAll: boolean, wanted: string | undefined): TestFile["runtime"][] {
  const names = wanted?.split(",") ?? (isAll ? testRuntimes : testRuntimes.slice(0, 1));
  const unknown = names.find((name) => !(testRuntimes as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`CQRS_TEST_RUNTIMES names ${testRuntimes.join(" or ")}, not "${unknown}"`);
  return names as TestFile["runtime"][];
}

/**
 * Tests run in process groups of their own, so Ctrl-C does not reach them; the lanes kill them and remove their clusters.
 * A signal may arrive twice, from the terminal and from `bun run`: the second must not interrupt the clean-up.
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

type OnResult = (result: FileResult) => void;

async function runLane(queue: TestFile[], { env, ...settings }: LaneSettings, onResult: OnResult): Promise<void> {
  if (settings.signal.aborted) return;
  const workDir = await mkdtemp(join(tmpdir(), "cqrs-lane-"));
  await chmod(workDir, 0o711);
  const shared = env["CQRS_TEST_STACK"];
  const stackDir = shared ?? (await withCluster()).stackDir;
  try {
    const laneEnv = { ...env, CQRS_TEST_STACK: stackDir };
    while (queue.length > 0 && !settings.signal.aborted) {
      const next = queue.shift() as TestFile;
      onResult(await runTestFile(next, { ...settings, env: laneEnv, workDir }));
    }
  } finally {
    if (shared === undefined) await destroyTestStack(stackDir);
    await rm(workDir, { recursive: true, force: true });
  }
}

function show(result: FileResult, isWhole: boolean): void {
  const { runtime, file, seconds, passed, failed, skipped, output } = result;
  const counts = `${passed} passed, ${failed} failed, ${skipped.length} skipped`;
  if (failed > 0 || isWhole) process.stdout.write(`\n${output}\n`);
  process.stdout.write(`${runtime.padEnd(4)} ${file}  ${seconds.toFixed(1)} s  (${counts})\n`);
}

/** @param missing number of lanes that failed and of files that did not run; each counts as a failure */
function report({ results, unstable }: RerunResults, missing: number): void {
  for (const { file, runtime, skipped } of results) {
    for (const name of skipped) process.stdout.write(`skipped: ${name} (${file} on ${runtime})\n`);
  }
  for (const { file, runtime, problem, failures, output } of results.filter(({ failed }) => failed > 0)) {
    process.stdout.write(`\n${lastFailure(output)}\n`);
    process.stdout.write(`FAILED: ${file} on ${runtime}${problem === undefined ? "" : `: ${problem}`}\n`);
    for (const name of failures) process.stdout.write(`  failed: ${name}\n`);
  }
  for (const { output } of unstable) process.stdout.write(`\n${lastFailure(output)}\n`);
  for (const failure of unstable) process.stdout.write(`${describeUnstable(failure)}\n`);
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0) + missing;
  const skipped = results.reduce((sum, result) => sum + result.skipped.length, 0);
  process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

const shownLines = 40;

/**
 * Repeats the last lines up to where the last failed test ended: a log may be cut to its end. Bun names a failed test
 * after its error; the other runtimes list the errors at the end.
 */
function lastFailure(output: string): string {
  const lines = output.trimEnd().split("\n");
  const failed = lines.findLastIndex((line) => line.startsWith("(fail)"));
  const end = failed < 0 ? lines.length : failed + 1;
  return lines.slice(Math.max(0, end - shownLines), end).join("\n");
}

await runSuites(process.argv.slice(2));
