import assert from "node:assert/strict";
import { test } from "node:test";
import { findStrayLines, parseDotEnv } from "../../scripts/lib/dot-env.ts";

/** What stands after `X=`, and the value. */
const values: readonly (readonly [string, string])[] = [
  ["plain", "plain"],
  ["  spaced value  ", "spaced value"],
  ["", ""],
  ['""', ""],
  ["plain # comment", "plain"],
  ["a#b", "a#b"],
  ["# comment", ""],
  ["a#b #c", "a#b"],
  ["a\t# b", "a"],
  ["p#1$2'\"`", "p#1$2'\"`"],
  ["'a'#b", "a"],
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

test("parseDotEnv() takes a # right after the = for a part of the value", () => {
  assert.deepEqual(parseDotEnv("X=#a\nY=#\nexport Z=a#"), { X: "#a", Y: "#", Z: "a#" });
});

test("parseDotEnv() skips what is no assignment, and the last one counts", () => {
  assert.deepEqual(parseDotEnv("X=1\nnonsense\nX\n=3\nX=2"), { X: "2" });
  assert.deepEqual(parseDotEnv(""), {});
});

test("findStrayLines() finds lines that are neither an assignment nor a comment", () => {
  assert.deepEqual(findStrayLines(""), []);
  assert.deepEqual(findStrayLines("# c\n\n  \nA=1\nexport B = 2 # c\n'C'\n"), [6]);
  assert.deepEqual(findStrayLines('A="two\nlines"\r\nnonsense\r\n=3\nexport X\n-- \n'), [3, 4, 5, 6]);
});
