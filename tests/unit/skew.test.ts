import assert from "node:assert/strict";
import { test } from "node:test";
import { describeSkew, newestVersion, ownVersion } from "../../scripts/lib/stack/skew.ts";

const state = { mode: "embedded", database: "cqrs_db", user: "cqrs_user" } as const;

test("versions are compared by number, and pre-releases count as their version", () => {
  const cases = [
    ["1.2.3", "1.2.3", undefined],
    ["1.2.3", "1.10.0", true],
    ["1.10.0", "1.9.9", false],
    ["2.0.0-beta.1", "2.0.0", undefined],
    ["1.9.0", "2.0.0-beta.1", true],
  ] as const;
  for (const [own, version, isOlder] of cases) {
    assert.equal(describeSkew({ ...state, version }, own)?.isOlder, isOlder, `${own} ${version}`);
  }
});

test("a stack from before versions were recorded is no skew", () => {
  assert.equal(describeSkew(state), undefined);
  assert.equal(describeSkew(undefined), undefined);
});

test("the state keeps the newest version", () => {
  assert.equal(newestVersion({ ...state, version: "999.0.0" }), "999.0.0");
  assert.equal(newestVersion({ ...state, version: "0.0.1" }), ownVersion);
  assert.equal(newestVersion(state), ownVersion);
});
