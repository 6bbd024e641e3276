import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBytes, formatColumns, formatSeconds, formatTable, wrapText } from "../../scripts/lib/cli/format.ts";
import { describeTransfer } from "../../scripts/lib/cli/reporter.ts";
import { formatRebuild } from "../../scripts/lib/operations/format-projection-end.ts";

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

test("describeTransfer() shows table, rows, bytes, rate and the remaining time", () => {
  const state = { table: "a.b", rowsDone: 41_000, bytesDone: 12_300_000, bytesTotal: 45_600_000 };
  assert.equal(describeTransfer(state, 2), "a.b  41000 rows, 12.3 MB of about 45.6 MB, 6.2 MB/s, 5 s left");
  assert.equal(describeTransfer({ ...state, bytesDone: 0 }, 60), "a.b  41000 rows, 0 B of about 45.6 MB");
  const beyond = { ...state, bytesDone: 50_000_000 };
  assert.equal(describeTransfer(beyond, 1), "a.b  41000 rows, 50.0 MB of about 50.0 MB, 50.0 MB/s, 0 s left");
});

test("describeTransfer() estimates nothing in the first second", () => {
  const state = { table: "a.b", rowsDone: 3, bytesDone: 100, bytesTotal: 45_600_000 };
  assert.equal(describeTransfer(state, 0.9), "a.b  3 rows, 100 B of about 45.6 MB");
  const nothing = { table: "a.b", rowsDone: 0, bytesDone: 0, bytesTotal: 0 };
  assert.equal(describeTransfer(nothing, 0), "a.b  0 rows, 0 B of about 0 B");
  assert.equal(describeTransfer(nothing, 1), "a.b  0 rows, 0 B of about 0 B, 0 B/s, 0 s left");
});

test("formatRebuild() does not say of the first version that it is not serving", () => {
  const end = { name: "orders", version: 2, outcome: "stopped", deadLetters: 0 } as const;
  assert.equal(formatRebuild({ ...end, replacedVersion: 1 }), "orders: version 2 is not serving yet: stopped");
  assert.equal(formatRebuild({ ...end, replacedVersion: null }), "orders: version 2 has not caught up: stopped");
});

test("wrapText() breaks lines between words", () => {
  assert.deepEqual(wrapText("one two three", 7), ["one two", "three"]);
  assert.deepEqual(wrapText("much-too-long word", 7), ["much-too-long", "word"]);
});

test("formatColumns() moves the text of a wide label to the next line, and wraps it", () => {
  const rows = [
    ["-h", "Help"],
    ["--a-label-that-is-wider-than-any", "Two words"],
  ] as const;
  assert.equal(formatColumns(rows, 14), "  -h  Help\n  --a-label-that-is-wider-than-any\n      Two\n      words");
});
