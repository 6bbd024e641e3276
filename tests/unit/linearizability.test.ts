import assert from "node:assert/strict";
import { test } from "node:test";
import { type HistoryCall, isLinearizable } from "../support/linearizability.ts";

const at = (startedAt: number, endedAt: number, call: HistoryCall["call"]): HistoryCall => ({
  startedAt,
  endedAt,
  call,
});
const stored = (expected: number, first: number, last = first) => ({ kind: "stored", expected, first, last }) as const;
const refused = (expected: number, actual: number) => ({ kind: "refused", expected, actual }) as const;
const read = (version: number) => ({ kind: "read", version }) as const;

const legal: Readonly<Record<string, readonly HistoryCall[]>> = {
  "nothing at all": [],
  "calls one after the other": [
    at(0, 1, stored(-1, 1)),
    at(2, 3, read(1)),
    at(4, 5, stored(1, 2, 3)),
    at(6, 7, read(3)),
  ],
  "concurrent calls, the later one first": [at(0, 9, stored(-4, 2)), at(1, 8, stored(-1, 1))],
  "two appends that expect one version, one of them refused": [at(0, 9, stored(0, 1)), at(0, 9, refused(-1, 1))],
  "a read that a concurrent append overtakes": [at(0, 9, read(0)), at(1, 2, stored(-2, 1))],
};

const illegal: Readonly<Record<string, readonly HistoryCall[]>> = {
  "two appends stored at one version": [at(0, 9, stored(0, 1)), at(0, 9, stored(0, 1))],
  "a gap": [at(0, 1, stored(-2, 1)), at(2, 3, stored(-2, 3))],
  "a read that misses an append acknowledged before it": [at(0, 1, stored(-2, 1)), at(2, 3, read(0))],
  "a read that sees an append started after it": [at(0, 1, read(1)), at(2, 3, stored(-2, 1))],
  "an append refused although the version was right": [at(0, 1, stored(-1, 1)), at(2, 3, refused(1, 1))],
  "an append refused for a version that never existed": [at(0, 1, stored(-1, 1)), at(0, 9, refused(7, 5))],
  "an append stored although there was no stream": [at(0, 1, stored(-4, 1))],
};

for (const [name, history] of Object.entries(legal)) {
  test(`isLinearizable() accepts ${name}`, () => assert.equal(isLinearizable(history), true));
}
for (const [name, history] of Object.entries(illegal)) {
  test(`isLinearizable() rejects ${name}`, () => assert.equal(isLinearizable(history), false));
}
