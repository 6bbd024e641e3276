import { spawn } from "node:child_process";
import { chmod, glob, mkdtemp, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { locateDeno } from "./deno.ts";
import { locateNode } from "./node.ts";
import { denoPermissions } from "./runtime.ts";

/** The runtimes, in the order in which the tests run on them. */
export const testRuntimes = ["bun", "deno", "node"] as const;

/** A test file and the runtime to run it on. */
export interface TestFile {
  readonly runtime: (typeof testRuntimes)[number];
  /** Relative to the repository. */
  readonly file: string;
}

/** How to run a test file. */
export interface RunOptions {
  readonly env: NodeJS.ProcessEnv;
  /** A folder for reports and for files that the tests create. */
  readonly workDir: string;
  /** After this time the process group and its servers are killed, and the file counts as failed. */
  readonly timeoutMs: number;
  /** Kills them immediately when it is aborted. */
  readonly signal: AbortSignal;
}

/** The result of a test file. */
export interface FileResult extends TestFile {
  readonly seconds: number;
  readonly passed: number;
  readonly failed: number;
  /** Names of the tests that failed. */
  readonly failures: readonly string[];
  /** Names of the tests that were skipped. */
  readonly skipped: readonly string[];
  /** A problem that is not a failed test, such as a timeout. */
  readonly problem: string | undefined;
  readonly output: string;
}

/** Runs a test file in a process group of its own. */
export async function runTestFile(test: TestFile, options: RunOptions): Promise<FileResult> {
  const dir = await mkdtemp(join(options.workDir, "run-"));
  const reportFile = join(dir, "report.xml");
  const outputFile = join(dir, "output.log");
  // A server below it may run as another user.
  await chmod(dir, 0o711);
  const startedAt = performance.now();
  const env = { ...options.env, TMPDIR: dir };
  const problem = await runProcess(testCommand(test, reportFile, options.timeoutMs), outputFile, { ...options, env });
  await killServers(dir);
  const seconds = (performance.now() - startedAt) / 1000;
  const counts = await readReport(reportFile).catch(() => ({ passed: 0, failed: 0, failures: [], skipped: [] }));
  const output = await readFile(outputFile, "utf8");
  const isEmpty = counts.passed + counts.failed + counts.skipped.length === 0;
  const trouble = counts.failed > 0 ? undefined : (problem ?? (isEmpty ? "it ran no test" : undefined));
  // The report has no failed case if the file was killed or could not be loaded.
  return { ...test, ...counts, failed: counts.failed + (trouble === undefined ? 0 : 1), seconds, problem, output };
}

function testCommand({ runtime, file }: TestFile, reportFile: string, timeoutMs: number): [string, ...string[]] {
  if (runtime === "deno") {
    return [locateDeno(), "test", "--no-check", ...denoPermissions, `--junit-path=${reportFile}`, file];
  }
  if (runtime === "node") {
    const reporting = ["--test-reporter=spec", "--test-reporter-destination=stdout"];
    const report = ["--test-reporter=junit", `--test-reporter-destination=${reportFile}`];
    return [locateNode(), ...reporting, ...report, file];
  }
  const reporting = ["--reporter=junit", `--reporter-outfile=${reportFile}`];
  const path = file.startsWith("/") ? file : `./${file}`;
  return [process.execPath, "test", "--timeout", String(timeoutMs), ...reporting, path];
}

/** @returns what went wrong; undefined if the process exited with 0 */
async function runProcess(
  [program, ...args]: [string, ...string[]],
  outputFile: string,
  { env, timeoutMs, signal }: RunOptions,
): Promise<string | undefined> {
  // To a file: a server that outlives its test would keep a pipe open.
  await using output = await open(outputFile, "a");
  const stdio = ["ignore", output.fd, output.fd] as const;
  const child = spawn(program, args, { cwd: assetsDir, env, detached: true, stdio: [...stdio] });
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const end = (problem: string) => {
    if (child.pid !== undefined) killGroup(child.pid);
    resolve(problem);
  };
  const onAbort = () => end(`stopped by ${signal.reason}`);
  const timer = setTimeout(end, timeoutMs, `killed, since it did not end within ${timeoutMs / 1000} seconds`);
  signal.addEventListener("abort", onAbort, { once: true });
  child.on("error", reject);
  child.on("exit", (code, signalName) => resolve(code === 0 ? undefined : `it ended with ${signalName ?? code}`));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended in the meantime.
  }
}

/** A server has a process group of its own and outlives a test that is killed. */
async function killServers(dir: string): Promise<void> {
  for await (const file of glob("**/postmaster.pid", { cwd: dir })) {
    const server = await findPostmaster(join(dir, dirname(file)));
    if (server.state === "running") process.kill(server.pid, "SIGQUIT");
  }
}

async function readReport(file: string): Promise<Pick<FileResult, "passed" | "failed" | "failures" | "skipped">> {
  const cases = (await readFile(file, "utf8")).match(/<testcase\b[^>]*?(\/>|>[\s\S]*?<\/testcase>)/g) ?? [];
  const failures = namesOf(cases, /<(failure|error)\b/);
  const skipped = namesOf(cases, /<skipped\b/);
  const failed = failures.length;
  return { passed: cases.length - failed - skipped.length, failed, failures, skipped };
}

/** @returns the names of the cases that contain an element */
function namesOf(cases: readonly string[], element: RegExp): string[] {
  return cases.filter((text) => element.test(text)).map((text) => /name="([^"]*)"/.exec(text)?.[1] ?? "?");
}
