import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBytes, formatSeconds, formatTable } from "../../scripts/lib/cli/format.ts";

const sizes: readonly (readonly [sizeBytes: number, text: string])[] = [
  [0, "0 B"],
  [1, "1 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [1_449_999, "1.4 MB"],
  [2_500_000_000, "2.5 GB"],
  [1e15, "1000.0 TB"],
];

const durations: readonly (readonly [seconds: number, text: string])[] = [
  [0, "0 s"],
  [0.9, "0 s"],
  [59, "59 s"],
  [60, "1 min"],
  [61, "1 min 1 s"],
  [3600, "1 h"],
  [3605, "1 h"],
  [11_520, "3 h 12 min"],
  [90_061, "1 d 1 h"],
];

for (const [sizeBytes, text] of sizes) {
  test(`formatBytes() writes ${sizeBytes} as ${text}`, () => assert.equal(formatBytes(sizeBytes), text));
}

for (const [seconds, text] of durations) {
  test(`formatSeconds() writes ${seconds} as ${text}`, () => assert.equal(formatSeconds(seconds), text));
}

test("formatTable() aligns the second column", () => {
  const table = formatTable([
    ["mode", "embedded"],
    ["port", 5432],
    ["pending", null],
  ]);
  assert.equal(table, "mode     embedded\nport     5432\npending  null");
});

test("formatTable() writes nothing for no rows", () => assert.equal(formatTable([]), ""));
