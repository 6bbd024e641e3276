import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";

let dir: string;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), "cqrs-rerun-"));
});
after(() => rm(dir, { recursive: true, force: true }));

/** Writes a file whose second test fails until it has run that many times. */
async function writeTests(name: string, failures: number): Promise<string> {
  const file = join(dir, `${name}.test.ts`);
  const count = join(dir, `${name}.count`);
  const text = `
    import assert from "node:assert/strict";
    import { appendFileSync, readFileSync } from "node:fs";
    import { test } from "node:test";
    test("is steady", () => {});
    test("waited too long", () => {
      appendFileSync(${JSON.stringify(count)}, "x");
      assert.ok(readFileSync(${JSON.stringify(count)}, "utf8").length > ${failures}, "no answer yet");
    });`;
  await writeFile(file, text);
  return file;
}

function runSuites(files: readonly string[], env: Record<string, string>) {
  const words = [join(assetsDir, "tests/support/run-suites.ts"), ...files];
  const { CQRS_TEST_RERUN: _unused, ...inherited } = process.env;
  const options = { env: { ...inherited, CQRS_TEST_RUNTIMES: "bun", ...env }, encoding: "utf8" } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, words, options);
  return { status, stdout, last: stdout.split("\n").filter(Boolean).slice(-2), printed: stdout + stderr };
}

test("with CQRS_TEST_RERUN=1, a file that fails once counts as passed, and is named with its failure", async () => {
  const file = await writeTests("once", 1);
  const run = runSuites([file], { CQRS_TEST_RERUN: "1" });
  assert.equal(run.status, 0, run.printed);
  const line = `unstable: ${file} on bun failed once and passed when it ran again, alone: waited too long`;
  assert.deepEqual(run.last, [line, "2 passed, 0 failed, 0 skipped"], run.printed);
  assert.match(run.stdout, /no answer yet/);
});

test("a file that fails twice has failed, as has one that fails once without CQRS_TEST_RERUN", async () => {
  const again = runSuites([await writeTests("twice", 2)], { CQRS_TEST_RERUN: "1" });
  const alone = runSuites([await writeTests("alone", 1)], {});
  for (const { status, last, printed } of [again, alone]) {
    assert.deepEqual([status, last.at(-1)], [1, "1 passed, 1 failed, 0 skipped"], printed);
    assert.doesNotMatch(printed, /unstable/);
  }
});
