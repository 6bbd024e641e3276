import assert from "node:assert/strict";
import { test } from "node:test";
import { describeUnstable, rerunFailures } from "../support/rerun.ts";
import type { FileResult, TestFile } from "../support/test-file.ts";

function result(file: string, failures: readonly string[], problem?: string): FileResult {
  const failed = failures.length + (problem === undefined ? 0 : 1);
  return { runtime: "bun", file, seconds: 1, passed: 2, failed, failures, skipped: [], problem, output: file };
}

const passes = async ({ file }: TestFile) => result(file, []);

test("a file that fails and then passes counts as passed, and its failure is kept", async () => {
  const [good, bad] = [result("good", []), result("bad", ["waits", "waits longer"])];
  const { results, unstable } = await rerunFailures([good, bad], passes);
  assert.deepEqual(results, [good, result("bad", [])]);
  assert.deepEqual(unstable, [bad]);
});

test("a file that fails again, or cannot run again, keeps its first result", async () => {
  const [again, gone] = [result("again", ["waits"]), result("gone", ["waits"])];
  const run = async ({ file }: TestFile) => (file === "again" ? result(file, ["waits longer"]) : undefined);
  assert.deepEqual(await rerunFailures([again, gone], run), { results: [again, gone], unstable: [] });
});

test("three files run again, one after the other; of four failures, none does", async () => {
  const failures = ["a", "b", "c", "d"].map((file) => result(file, ["waits"]));
  let running = 0;
  const run = async (test: TestFile) => {
    assert.equal(++running, 1);
    await Promise.resolve();
    running--;
    return passes(test);
  };
  assert.equal((await rerunFailures(failures.slice(1), run)).unstable.length, 3);
  assert.deepEqual(await rerunFailures(failures, run), { results: failures, unstable: [] });
});

test("an unstable file is reported with its tests, or with the reason if none of them failed", () => {
  const start = "on bun failed once and passed when it ran again, alone:";
  assert.equal(describeUnstable(result("a", ["one", "two"])), `unstable: a ${start} one; two`);
  assert.equal(describeUnstable(result("b", [], "it ended with 1")), `unstable: b ${start} it ended with 1`);
});
