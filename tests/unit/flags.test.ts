import assert from "node:assert/strict";
import { test } from "node:test";
import { type ArgDefinitions, convertArgs } from "../../scripts/lib/cli/args.ts";
import { checkArguments, firstOperand, sharedFlags } from "../../scripts/lib/cli/flags.ts";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { didYouMean } from "../../scripts/lib/cli/suggestion.ts";

const definitions = {
  ...sharedFlags,
  port: { type: "string", valueHint: "number", description: "A port" },
  name: { type: "positional", description: "A name" },
} as const satisfies ArgDefinitions;

const accepted: readonly (readonly string[])[] = [
  [],
  ["orders"],
  ["--json", "--port", "5432", "orders"],
  ["--port=5432"],
  ["--port", "-"],
  ["--port="],
  ["-y", "-h"],
  ["--no-color"],
  ["--", "orders"],
  ["--json", "--", "--not-a-flag"],
];

const refused: readonly (readonly [words: readonly string[], message: string, fix: RegExp | undefined])[] = [
  [["--jsn"], "Unknown flag --jsn", /Did you mean --json\?/],
  [["--yess"], "Unknown flag --yess", /Did you mean --yes\?/],
  [["--prot=1"], "Unknown flag --prot", /Did you mean --port\?/],
  [["--no-colr"], "Unknown flag --no-colr", /Did you mean --no-color\?/],
  [["--no-port"], "Unknown flag --no-port", undefined],
  [["--name", "orders"], "Unknown flag --name", undefined],
  [["-x"], "Unknown flag -x", undefined],
  [["-j"], "Unknown flag -j", undefined],
  [["-V"], "Unknown flag -V", undefined],
  [["-yh"], "Unknown flag -yh", undefined],
  [["--keep", "3"], "Unknown flag --keep", undefined],
  [["--port"], "--port needs a value", /--port=<value>/],
  [["--port", "--json"], "--port needs a value", /--port=<value>/],
  [["--port", "-1"], "--port needs a value", /--port=<value>/],
  [["--json=yes"], "--json is a switch and takes no value", /leave it out/],
  [["--help=true"], "--help is a switch and takes no value", /leave it out/],
  [["--no-color=false"], "--no-color is a switch and takes no value", /leave it out/],
  [["orders", "invoices"], 'Unexpected argument "invoices"', undefined],
  [["--json", "true", "orders"], 'Unexpected argument "orders"', undefined],
  [["--color", "--no-color"], "--color and --no-color cannot be combined", undefined],
  [["orders", "-"], 'Unexpected argument "-"', undefined],
  [["orders", "--", "--json"], 'Unexpected argument "--json"', undefined],
];

for (const words of accepted) {
  test(`checkArguments() accepts ${JSON.stringify(words.join(" "))}`, () => checkArguments({ words, definitions }));
}

for (const [words, message, fix] of refused) {
  test(`checkArguments() refuses ${JSON.stringify(words.join(" "))}`, async () => {
    await assert.rejects(checkArguments({ words, definitions }), (error) => {
      assert.ok(error instanceof ScriptError);
      assert.deepEqual([error.code, error.exitCode, error.message], ["USAGE", 2, message]);
      if (fix === undefined) assert.equal(error.fix, undefined);
      else assert.match(error.fix ?? "", fix);
      return true;
    });
  });
}

const suggestions: readonly (readonly [word: string, candidates: readonly string[], suggested: string | undefined])[] =
  [
    ["creat", ["backup create", "backup list", "backup verify"], "backup create"],
    ["verfy", ["backup create", "backup list", "backup verify"], "backup verify"],
    ["statsu", ["status", "stop", "seed"], "status"],
    ["lsit", ["list", "run"], "list"],
    ["--datbase", ["--database", "--mode"], "--database"],
    ["--until-postion", ["--until-position", "--until-time"], "--until-position"],
    ["bogus", ["bootstrap", "status", "stop", "backup", "restore"], undefined],
    ["--keep", ["--help", "--key-file", "--to"], undefined],
    ["-t", ["--to"], undefined],
    ["anything", [], undefined],
  ];

for (const [word, candidates, suggested] of suggestions) {
  test(`didYouMean() suggests ${suggested ?? "nothing"} for ${word}`, async () => {
    assert.equal(await didYouMean(word, candidates), suggested && `Did you mean ${suggested}?`);
  });
}

const typed = {
  count: { type: "number", min: 1, description: "From 1" },
  some: { type: "number", min: 0, max: 100, default: "7", description: "Up to 100" },
  wait: { type: "duration", description: "How long" },
  part: { type: "choice", options: ["rows", "events"], description: "What" },
  all: { type: "boolean", description: "Everything" },
  archive: { type: "positional", default: "latest", description: "Which" },
} as const satisfies ArgDefinitions;

test("convertArgs() converts numbers and durations, and makes absent switches false", () => {
  const values = convertArgs({ count: "3", some: "0", wait: "2h", part: "rows", archive: "x", all: true }, typed);
  assert.deepEqual(values, { count: 3, some: 0, wait: 7_200_000, part: "rows", all: true, archive: "x" });
  const absent = { count: undefined, some: undefined, wait: undefined, part: undefined, archive: undefined };
  assert.deepEqual(convertArgs({}, typed), { ...absent, all: false });
});

const unusable: readonly (readonly [name: string, text: string, wanted: string])[] = [
  ...["0", "-1", "1.5", "abc", "1e3", "", " 1", "99999999999999999"].map(
    (text) => ["count", text, "a whole number from 1"] as const,
  ),
  ["some", "101", "a whole number from 0 to 100"],
  ...["60", "1.5h", "soon", "", "25d"].map(
    (text) => ["wait", text, "a duration such as 500ms, 60s, 5m, 2h or 7d, at most 24d"] as const,
  ),
  ["part", "row", "rows or events"],
];

for (const [name, text, wanted] of unusable) {
  test(`convertArgs() refuses --${name} ${JSON.stringify(text)}, and says what it must be`, () => {
    const message = `--${name} must be ${wanted}, not ${JSON.stringify(text)}`;
    assert.throws(() => convertArgs({ [name]: text }, typed), { code: "USAGE", exitCode: 2, message });
  });
}

test("firstOperand() skips the values of flags, and finds nothing after --", () => {
  const given = (line: string) => firstOperand(line.split(" "), definitions);
  assert.deepEqual(["orders", "--json orders", "--port 1 orders", "--port=1 orders"].map(given), [0, 1, 2, 1]);
  assert.deepEqual(["--port orders", "--json -- orders", "--json"].map(given), [-1, -1, -1]);
});
