import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDuration } from "../../scripts/lib/duration.ts";

const durations: readonly (readonly [text: string, ms: number])[] = [
  ["0s", 0],
  ["500ms", 500],
  ["60s", 60_000],
  ["5m", 300_000],
  ["2h", 7_200_000],
  ["7d", 604_800_000],
];

for (const [text, ms] of durations) {
  test(`parseDuration() reads ${text} as ${ms} ms`, () => assert.equal(parseDuration(text), ms));
}

for (const text of ["", "60", "h", "-1s", "1.5h", "2 h", "2H", "1h30m", "2h\n", "1w", "1234567890s"]) {
  test(`parseDuration() refuses ${JSON.stringify(text)}`, () => assert.equal(parseDuration(text), undefined));
}
