import assert from "node:assert/strict";
import { test } from "node:test";
import { divideByPassed, integrationTest, isFor } from "../support/test-selection.ts";

const runtimes = ["bun", "deno", "node"] as const;
const [session, plans, bootstrap] = ["session-pool", "plans", "bootstrap"].map(integrationTest) as [
  string,
  string,
  string,
];

test("sessions are tested on every runtime, scripts on two, what does not differ on one, the package on none", () => {
  const chosen = (file: string) => runtimes.filter((runtime) => isFor(runtime, file));
  assert.deepEqual(chosen(session), ["bun", "deno", "node"]);
  assert.deepEqual(chosen(bootstrap), ["bun", "deno"]);
  assert.deepEqual(chosen("tests/unit/quote.test.ts"), ["bun", "deno"]);
  assert.deepEqual(chosen(plans), ["bun"]);
  assert.deepEqual(chosen("tests/package/life.test.ts"), []);
});

test("a second user repeats a file that did not pass, or that may depend on the user", () => {
  const files = [bootstrap, plans, session];
  assert.deepEqual(divideByPassed(files, `${bootstrap}\n${plans}\n`), { toRun: [bootstrap, session], passed: [plans] });
  assert.deepEqual(divideByPassed(files, ""), { toRun: files, passed: [] });
});
