// Runs the tests on Bun and on Deno, and closes with one line: N passed, N failed, N skipped.
//
// One cluster is made for the whole run; each file clones a database of it. `--soak` runs every test that kills, races
// or guesses as often as the project promises. Names of files choose what is run; without any, everything is.
import { spawn } from "node:child_process";
import { glob, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { packageDir } from "../../scripts/lib/config.ts";
import { locateDeno } from "./deno.ts";
import { denoPermissions } from "./runtime.ts";
import { destroyTestStack, withCluster } from "./stack.ts";

interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly string[];
}

const soakRounds = "20";
/** Nothing is to take so long; it only ends a test that hangs, in a soak too. */
const testTimeoutMs = "900000";
const suites = ["tests/unit", "tests/integration"];

async function runSuites(words: readonly string[]): Promise<void> {
  const isSoak = words.includes("--soak");
  const chosen = words.filter((word) => !word.startsWith("--"));
  const files = chosen.length > 0 ? chosen : await findTests();
  const reports = await mkdtemp(join(tmpdir(), "cqrs-reports-"));
  const stack = await withCluster();
  // Ctrl-C ends the tests, which got it too; the cluster is still to be removed.
  process.once("SIGINT", () => {});
  const env = { ...process.env, CQRS_TEST_STACK: stack.stackDir, ...(isSoak ? { CQRS_TEST_ROUNDS: soakRounds } : {}) };
  try {
    const counts = [
      await runOne("Bun", bunCommand(files, join(reports, "bun.xml")), env, join(reports, "bun.xml")),
      await runOne("Deno", denoCommand(files, join(reports, "deno.xml")), env, join(reports, "deno.xml")),
    ];
    report(counts);
  } finally {
    await destroyTestStack(stack.stackDir);
    await rm(reports, { recursive: true, force: true });
  }
}

async function findTests(): Promise<string[]> {
  const files: string[] = [];
  for (const suite of suites) {
    for await (const file of glob(`${suite}/**/*.test.ts`, { cwd: packageDir })) files.push(file);
  }
  return files.toSorted();
}

function bunCommand(files: readonly string[], reportFile: string): string[] {
  const paths = files.map((file) => `./${file}`);
  return [
    process.execPath,
    "test",
    "--timeout",
    testTimeoutMs,
    "--reporter=junit",
    `--reporter-outfile=${reportFile}`,
    ...paths,
  ];
}

function denoCommand(files: readonly string[], reportFile: string): string[] {
  return [locateDeno(), "test", "--no-check", ...denoPermissions, `--junit-path=${reportFile}`, ...files];
}

async function runOne(
  name: string,
  [program, ...args]: string[],
  env: NodeJS.ProcessEnv,
  reportFile: string,
): Promise<Count> {
  process.stdout.write(`\n# ${name}\n`);
  const child = spawn(program as string, args, { cwd: packageDir, env, stdio: "inherit" });
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const count = await readReport(reportFile).catch(() => ({ passed: 0, failed: 1, skipped: [] }));
  // A file that can't be loaded has no case in the report; the exit code still tells.
  return exitCode !== 0 && count.failed === 0 ? { ...count, failed: 1 } : count;
}

async function readReport(file: string): Promise<Count> {
  const cases = (await readFile(file, "utf8")).match(/<testcase\b[^>]*?(\/>|>[\s\S]*?<\/testcase>)/g) ?? [];
  const failed = cases.filter((text) => /<(failure|error)\b/.test(text)).length;
  const skipped = cases
    .filter((text) => /<skipped\b/.test(text))
    .map((text) => /name="([^"]*)"/.exec(text)?.[1] ?? "?");
  return { passed: cases.length - failed - skipped.length, failed, skipped };
}

function report(counts: readonly Count[]): void {
  const skipped = counts.flatMap((count) => count.skipped);
  for (const name of skipped) process.stdout.write(`skipped: ${name}\n`);
  const passed = counts.reduce((sum, count) => sum + count.passed, 0);
  const failed = counts.reduce((sum, count) => sum + count.failed, 0);
  process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

await runSuites(process.argv.slice(2));
