import assert from "node:assert/strict";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { checkpointAfter, checkpointPlace, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { InvalidInput, refusalError, StreamNotFound, VersionConflict } from "../../scripts/lib/event-store/errors.ts";
import type { Checkpoint } from "../../scripts/lib/event-store/event.ts";
import { toJson } from "../../scripts/lib/event-store/json.ts";
import { textArray } from "../../scripts/lib/event-store/read-log.ts";
import { streamIdOf } from "../../scripts/lib/event-store/stream-id.ts";

test("streamIdOf() derives a UUIDv5, whatever the case of the id", () => {
  const id = "0190a5b2-1111-7000-8000-00000000abcd";
  assert.equal(streamIdOf({ type: "Order", id }), streamIdOf({ type: "Order", id: id.toUpperCase() }));
  assert.notEqual(streamIdOf({ type: "Order", id }), streamIdOf({ type: "order", id }));
  assert.match(
    streamIdOf({ type: "注文", id }),
    /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
});

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const unfit: readonly (readonly [string, unknown, RegExp])[] = [
  ["NaN", { a: [1, { b: Number.NaN }] }, /^data contains NaN at \.a\[1\]\.b, which JSON cannot represent$/],
  ["an infinity", { a: Number.NEGATIVE_INFINITY }, /-Infinity at \.a/],
  ["a bigint", { a: 1n }, /a bigint at \.a/],
  ["nothing at all", undefined, /^data contains undefined, which/],
  ["undefined in an array", [1, undefined], /undefined at \[1\]/],
  ["a function", { a: () => 1 }, /a function at \.a/],
  ["a symbol", Symbol("x"), /a symbol/],
  ["a Map", { a: new Map([[1, 2]]) }, /an instance of Map at \.a/],
  ["a Set", new Set([1]), /an instance of Set/],
  ["a WeakMap", { a: new WeakMap() }, /an instance of WeakMap at \.a/],
  ["a promise", { total: Promise.resolve(1) }, /a Promise at \.total, which must be awaited first$/],
  ["an error", { a: { b: new TypeError("no") } }, /an instance of TypeError at \.a\.b/],
  ["a regular expression", [/x/], /an instance of RegExp at \[0\]/],
  ["an instance of a class", { a: new (class Money {})() }, /an instance of Money at \.a/],
  ["an instance of a class without a name", { a: new (class {})() }, /an instance of a class at \.a/],
  ["a generator", { a: (function* () {})() }, /an instance of .* at \.a/],
  ["a typed array", { a: new Uint8Array(2) }, /an instance of Uint8Array at \.a/],
  ["a Buffer, though it has toJSON", { a: Buffer.from("x") }, /an instance of Buffer at \.a/],
  ["an ArrayBuffer", { a: new ArrayBuffer(2) }, /an instance of ArrayBuffer at \.a/],
  ["a boxed number", { a: Object(Number.NaN) }, /an instance of Number at \.a/],
  ["a boxed bigint", { a: Object(1n) }, /an instance of BigInt at \.a/],
  ["a key that is a symbol", { a: { [Symbol("x")]: 1 } }, /a key that is a symbol at \.a/],
  ["a hole in an array", { a: new Array(2) }, /undefined at \.a\[0\]/],
  ["what toJSON() returns, if it would be lost", { a: { toJSON: () => new Map() } }, /an instance of Map at \.a/],
  ["undefined that toJSON() returns", { a: { toJSON: () => undefined } }, /undefined at \.a/],
  ["an integer beyond 2^53", { a: 2 ** 53 + 2 }, /the integer 9007199254740994 at \.a, which is beyond 2\^53/],
  ["a negative integer beyond 2^53", [-1e300], /the integer -1e\+300 at \[0\], which is beyond 2\^53/],
  ["a cycle", cyclic, /a cycle, or more than 1,000 levels at (\.self){40}…, which/],
  ["an invalid date", { a: new Date("no") }, /an invalid date at \.a/],
  ["a NUL", { a: "x\u0000" }, /contains text with a NUL at \.a/],
  ["a lone surrogate", { a: "\ud800" }, /a lone surrogate at \.a/],
  ["a NUL in a key", { "\u0000": 1 }, /a key with a NUL/],
];
for (const [what, value, message] of unfit) {
  test(`toJson() refuses ${what}, and names the place`, () => {
    assert.throws(
      () => toJson(value, "data"),
      (error: Error) => error instanceof InvalidInput && message.test(error.message),
    );
  });
}

test("toJson() writes valid values as JSON.stringify() does", () => {
  const value = {
    a: [1, "ü🛒\\u0000", null, true],
    when: new Date(0),
    where: new URL("https://example.org"),
    absent: undefined,
    nested: { "": 1e-300, zero: -0, most: Number.MAX_SAFE_INTEGER },
    bare: Object.assign(Object.create(null), { b: 1 }),
    foreign: runInNewContext("({ c: [1.5] })"),
    converted: {
      hidden: 1,
      toJSON() {
        return { shown: 2 };
      },
    },
  };
  assert.equal(toJson(value, "data"), JSON.stringify(value));
});

test("toJson() refuses what parsing does not restore, if it must restore", () => {
  const cases = [
    [
      { at: new Date(0) },
      /^InvalidInput: state contains an instance of Date at \.at, which would be loaded as what its toJSON/,
    ],
    [{ at: [new Date("no")] }, /an instance of Date at \.at\[0\]/],
    [{ url: new URL("https://example.org") }, /an instance of URL at \.url/],
    [{ lines: new Map() }, /an instance of Map at \.lines/],
  ] as const;
  for (const [state, message] of cases) {
    assert.throws(() => toJson(state, "state", { mustRestore: true }), message);
  }
  assert.equal(toJson({ a: [1, null, "x"] }, "state", { mustRestore: true }), '{"a":[1,null,"x"]}');
});

test("refusalError() creates an error of the class of the SQLSTATE, with the facts of its detail", () => {
  const detail = '{"expected":3,"actual":5,"aggregate_type":"Order","aggregate_id":"x"}';
  const conflict = refusalError({ sqlstate: "UE001", message: "no", detail });
  assert.ok(conflict instanceof VersionConflict);
  assert.deepEqual(
    [conflict.name, conflict.code, conflict.expected, conflict.actual, conflict.aggregate],
    ["VersionConflict", "UE001", 3, 5, { type: "Order", id: "x" }],
  );
  assert.ok(refusalError({ sqlstate: "UE003", message: "no", detail }) instanceof StreamNotFound);
  assert.ok(
    refusalError({ sqlstate: "22P05", message: "no", detail: "\\u0000 cannot be converted" }) instanceof InvalidInput,
  );
});

test("a checkpoint survives a round trip, and a malformed one is refused", () => {
  assert.equal(checkpointPlace(logStart).position, 0n);
  assert.equal(checkpointPlace(checkpointAfter({ position: 17n })).position, 17n);
  for (const text of ["", "-1", "x", "1.5", "9".repeat(16)]) {
    assert.throws(() => checkpointPlace(text as Checkpoint), InvalidInput);
  }
});

test("textArray() quotes the elements of a text array", () => {
  assert.equal(textArray(undefined), null);
  assert.equal(textArray([]), "{}");
  assert.equal(textArray(['a"b', "c\\d", "NULL", ""]), '{"a\\"b","c\\\\d","NULL",""}');
});
