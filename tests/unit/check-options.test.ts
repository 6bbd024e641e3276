import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkOptions,
  isCount,
  isFlag,
  isSignal,
  isTextList,
  isTime,
  isTransaction,
  isVersion,
} from "../../scripts/lib/event-store/check-options.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";

const checks = { pageSize: isCount(1), maxCount: isCount(1), backwards: isFlag };

function problemOf(options: unknown): string {
  try {
    checkOptions(options as object, checks as never, "read()");
  } catch (error) {
    assert.ok(error instanceof InvalidInput);
    return error.message;
  }
  return "";
}

test("an unknown option is refused with the nearest known one, or with all if none is near", () => {
  assert.equal(problemOf({ pagesize: 1 }), 'read() has no option "pagesize": did you mean pageSize?');
  assert.equal(problemOf({ maxCounts: 1 }), 'read() has no option "maxCounts": did you mean maxCount?');
  assert.equal(problemOf({ backward: undefined }), 'read() has no option "backward": did you mean backwards?');
  assert.equal(problemOf({ x: 1 }), 'read() has no option "x": allowed are pageSize, maxCount, backwards');
  assert.equal(
    problemOf({ toString: 1 }),
    'read() has no option "toString": allowed are pageSize, maxCount, backwards',
  );
});

test("options must be an object, and one that is undefined has its default", () => {
  assert.equal(problemOf(null), "the options of read() are null, not an object");
  assert.equal(problemOf(5), "the options of read() are 5, not an object");
  assert.equal(problemOf({ pageSize: undefined, maxCount: 2_147_483_647, backwards: false }), "");
});

test("a count is an integer from 1 that fits int4", () => {
  for (const [value, text] of [
    [0, "0"],
    [-1, "-1"],
    [1.5, "1.5"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
    [2 ** 31, "2147483648"],
    [5n, "5n"],
    ["5", '"5"'],
    [null, "null"],
    [[1], "an array"],
    [new Date(0), "a Date"],
    [Symbol("x"), "Symbol(x)"],
  ] as const) {
    assert.equal(problemOf({ pageSize: value }), `pageSize is ${text}; it must be an integer from 1 to 2147483647`);
  }
});

test("a version is a number or a bigint from 0 that fits int4", () => {
  for (const value of [0, -0, 0n, 7, 7n, 2_147_483_647, 2_147_483_647n]) assert.equal(isVersion(value), undefined);
  for (const value of [-1, -1n, 0.5, Number.NaN, 2 ** 31, 2n ** 31n, 2n ** 70n, "1", null, true]) {
    assert.equal(isVersion(value), "an integer from 0 to 2147483647");
  }
});

test("other options are checked for what their use needs", () => {
  assert.deepEqual(
    [isTime(new Date(0)), isTime(new Date("no")), isTime(0)],
    [undefined, "a valid Date", "a valid Date"],
  );
  assert.deepEqual([isFlag(true), isFlag("yes"), isFlag(1)], [undefined, "true or false", "true or false"]);
  assert.deepEqual([isTextList([]), isTextList(["a"])], [undefined, undefined]);
  for (const value of ["a", [1], [undefined], {}]) assert.equal(isTextList(value), "an array of strings");
  assert.equal(isSignal(new AbortController().signal), undefined);
  for (const value of [new AbortController(), 5, null]) assert.equal(isSignal(value), "an AbortSignal");
  assert.equal(isTransaction({ unsafe: () => undefined }), undefined);
  for (const value of [{}, null, "tx"]) assert.match(String(isTransaction(value)), /sql\.begin\(\)/);
});
