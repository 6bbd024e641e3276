import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDotEnv } from "../../scripts/lib/dot-env.ts";

/** What stands after `X=`, and the value. */
const values: readonly (readonly [string, string])[] = [
  ["plain", "plain"],
  ["  spaced value  ", "spaced value"],
  ["", ""],
  ['""', ""],
  ["plain # comment", "plain"],
  ["a#b", "a"],
  ['"a # b" # comment', "a # b"],
  ["'a # b' # \"comment\"", "a # b"],
  ["a$b $HOME", "a$b $HOME"],
  ['"$HOME \\$HOME"', "$HOME \\$HOME"],
  ["postgres://u:p@h/d?x=y", "postgres://u:p@h/d?x=y"],
  ['"line\\nline\\tline"', "line\nline\\tline"],
  ["'line\\nline'", "line\\nline"],
  ["line\\nline", "line\\nline"],
  ['"two\nlines"', "two\nlines"],
  ['"a\\"b"', 'a\\"b'],
  ["`a'b\"c`", "a'b\"c"],
  ["it's", "it's"],
  ['"open', '"open'],
];

for (const [text, value] of values) {
  test(`parseDotEnv() reads X=${JSON.stringify(text)}`, () => {
    const file = `# X=0\nA=1\n  export X = ${text}\nB=2\n`;
    assert.deepEqual(parseDotEnv(file), { A: "1", X: value, B: "2" });
    assert.deepEqual(parseDotEnv(file.replaceAll("\n", "\r\n")), { A: "1", X: value, B: "2" });
  });
}

test("parseDotEnv() skips what is no assignment, and the last one counts", () => {
  assert.deepEqual(parseDotEnv("X=1\nnonsense\nX\n=3\nX=2"), { X: "2" });
  assert.deepEqual(parseDotEnv(""), {});
});
