// Runs the tests of the compose stack on a real Docker Engine: `bun run test:compose [--soak] [files]`.
//
// If no engine is running and this is root, it starts dockerd for the run, with its own data folder. If an image cannot
// be pulled, it builds a stand-in; each run reports which images are real. Last line: N passed, N failed, N skipped.
import { spawn } from "node:child_process";
import { glob, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { withEngine } from "./engine.ts";
import { chooseImages } from "./images.ts";

const soakRounds = "20";

async function main(words: readonly string[]): Promise<void> {
  const isSoak = words.includes("--soak");
  const chosen = words.filter((word) => !word.startsWith("--"));
  await using engine = await withEngine();
  process.stdout.write(`# Docker Engine ${engine.version}, compose ${engine.composeVersion} (${engine.origin})\n`);
  Object.assign(process.env, engine.env);
  for (const { name, image, isReal } of await chooseImages()) {
    process.stdout.write(`# ${isReal ? "REAL    " : "STAND-IN"} ${name}: ${image}\n`);
    process.env[`${name.toUpperCase()}_IMAGE`] = image;
  }
  if (isSoak) process.env["CQRS_TEST_ROUNDS"] = soakRounds;
  const files = chosen.length > 0 ? chosen : await Array.fromAsync(glob("tests/compose/*.test.ts", { cwd: assetsDir }));
  await runTests(files.toSorted(), engine.folder);
}

interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Runs three files concurrently, as stacks mostly wait for health checks. Prints a file's output once it has ended. */
async function runTests(files: readonly string[], folder: string): Promise<void> {
  const waiting = [...files];
  const counts: Count[] = [];
  // Ctrl-C ends the tests, which receive it too; the containers must still be removed.
  process.once("SIGINT", () => {});
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      counts.push(await runFile(file, join(folder, `${basename(file)}.xml`)));
    }
  };
  await Promise.all([work(), work(), work()]);
  const [passed, failed, skipped] = (["passed", "failed", "skipped"] as const).map((name) =>
    counts.reduce((sum, count) => sum + count[name], 0),
  );
  process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  process.exitCode = failed === 0 && passed !== 0 ? 0 : 1;
}

async function runFile(file: string, reportFile: string): Promise<Count> {
  const report = ["--reporter=junit", `--reporter-outfile=${reportFile}`];
  const words = ["test", "--timeout", "600000", ...report, `./${file}`];
  const child = spawn(process.execPath, words, {
    cwd: assetsDir,
    env: process.env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
    });
  }
  const exitCode = await new Promise<number | null>((resolve) => child.once("close", resolve));
  process.stdout.write(printed);
  const text = await readFile(reportFile, "utf8").catch(() => "");
  const cases = text.match(/<testcase\b[^>]*?(\/>|>[\s\S]*?<\/testcase>)/g) ?? [];
  const failed = cases.filter((one) => /<(failure|error)\b/.test(one)).length;
  const skipped = cases.filter((one) => /<skipped\b/.test(one)).length;
  // A file that cannot be loaded has no case in the report; only its exit code shows the failure.
  const hidden = exitCode !== 0 && failed === 0 ? 1 : 0;
  return { passed: cases.length - failed - skipped, failed: failed + hidden, skipped };
}

await main(process.argv.slice(2));
