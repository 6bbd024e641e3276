import { spawn } from "node:child_process";
import { chmod, glob, mkdtemp, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { locateDeno } from "./deno.ts";
import { denoPermissions } from "./runtime.ts";

/** What tests run on, in the order they are run. */
export const testRuntimes = ["bun", "deno"] as const;

/** A file of tests, and what to run it on. */
export interface TestFile {
  readonly runtime: (typeof testRuntimes)[number];
  /** Relative to the project's folder. */
  readonly file: string;
}

/** How to run it. */
export interface RunOptions {
  readonly env: NodeJS.ProcessEnv;
  /** A folder for reports, and for whatever the file makes itself. */
  readonly workDir: string;
  /** After this time the file is killed, with its process group and its servers, and counted as failed. */
  readonly timeoutMs: number;
  /** Kills it at once, in the same way. */
  readonly signal: AbortSignal;
}

/** What became of it. */
export interface FileResult extends TestFile {
  readonly seconds: number;
  readonly passed: number;
  readonly failed: number;
  /** Names of the tests that were skipped. */
  readonly skipped: readonly string[];
  /** What went wrong beside a test that failed. */
  readonly problem: string | undefined;
  readonly output: string;
}

/** Runs a file of tests in a process group of its own. */
export async function runTestFile(test: TestFile, options: RunOptions): Promise<FileResult> {
  const dir = await mkdtemp(join(options.workDir, "run-"));
  const reportFile = join(dir, "report.xml");
  const outputFile = join(dir, "output.log");
  // Whatever runs a server there may be another user.
  await chmod(dir, 0o711);
  const startedAt = performance.now();
  const env = { ...options.env, TMPDIR: dir };
  const problem = await runProcess(testCommand(test, reportFile, options.timeoutMs), outputFile, { ...options, env });
  await killServers(dir);
  const seconds = (performance.now() - startedAt) / 1000;
  const counts = await readReport(reportFile).catch(() => ({ passed: 0, failed: 0, skipped: [] }));
  const output = await readFile(outputFile, "utf8");
  const isEmpty = counts.passed + counts.failed + counts.skipped.length === 0;
  const trouble = counts.failed > 0 ? undefined : (problem ?? (isEmpty ? "it ran no test" : undefined));
  // A file that was killed or can't be loaded has no failed case in the report.
  return { ...test, ...counts, failed: counts.failed + (trouble === undefined ? 0 : 1), seconds, problem, output };
}

function testCommand({ runtime, file }: TestFile, reportFile: string, timeoutMs: number): [string, ...string[]] {
  if (runtime === "deno") {
    return [locateDeno(), "test", "--no-check", ...denoPermissions, `--junit-path=${reportFile}`, file];
  }
  const reporting = ["--reporter=junit", `--reporter-outfile=${reportFile}`];
  const path = file.startsWith("/") ? file : `./${file}`;
  return [process.execPath, "test", "--timeout", String(timeoutMs), ...reporting, path];
}

/** @returns what went wrong; undefined when the process ended with 0 */
async function runProcess(
  [program, ...args]: [string, ...string[]],
  outputFile: string,
  { env, timeoutMs, signal }: RunOptions,
): Promise<string | undefined> {
  // Into a file: a server that outlives its test would keep a pipe open.
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
    // It ended by itself meanwhile.
  }
}

/** A server is in no process group of its test, and outlives one that is killed. */
async function killServers(dir: string): Promise<void> {
  for await (const file of glob("**/postmaster.pid", { cwd: dir })) {
    const server = await findPostmaster(join(dir, dirname(file)));
    if (server.state === "running") process.kill(server.pid, "SIGQUIT");
  }
}

async function readReport(file: string): Promise<Pick<FileResult, "passed" | "failed" | "skipped">> {
  const cases = (await readFile(file, "utf8")).match(/<testcase\b[^>]*?(\/>|>[\s\S]*?<\/testcase>)/g) ?? [];
  const failed = cases.filter((text) => /<(failure|error)\b/.test(text)).length;
  const skipped = cases
    .filter((text) => /<skipped\b/.test(text))
    .map((text) => /name="([^"]*)"/.exec(text)?.[1] ?? "?");
  return { passed: cases.length - failed - skipped.length, failed, skipped };
}
