import assert from "node:assert/strict";
import { test } from "node:test";
import type { ArgsDef } from "citty";
import { checkArguments, sharedFlags } from "../../scripts/lib/cli/flags.ts";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";

const definitions: ArgsDef = {
  ...sharedFlags,
  port: { type: "string" },
  name: { type: "positional" },
};

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

const refused: readonly (readonly [words: readonly string[], message: string, fix: RegExp])[] = [
  [["--jsn"], "Unknown flag --jsn", /Did you mean --json\?/],
  [["--yess"], "Unknown flag --yess", /Did you mean --yes\?/],
  [["--prot=1"], "Unknown flag --prot", /Did you mean --port\?/],
  [["--no-colr"], "Unknown flag --no-colr", /Did you mean --no-color\?/],
  [["--no-port"], "Unknown flag --no-port", /See --help/],
  [["--name", "orders"], "Unknown flag --name", /See --help/],
  [["-x"], "Unknown flag -x", /See --help/],
  [["-yh"], "Unknown flag -yh", /See --help/],
  [["--port"], "--port needs a value", /--port=<value>/],
  [["--port", "--json"], "--port needs a value", /--port=<value>/],
  [["--port", "-1"], "--port needs a value", /--port=<value>/],
  [["--json=yes"], "--json is a switch and takes no value", /leave it out/],
  [["--help=true"], "--help is a switch and takes no value", /leave it out/],
  [["--no-color=false"], "--no-color is a switch and takes no value", /leave it out/],
  [["orders", "invoices"], 'Unexpected argument "invoices"', /See --help/],
  [["--json", "true", "orders"], 'Unexpected argument "orders"', /See --help/],
  [["orders", "-"], 'Unexpected argument "-"', /See --help/],
  [["orders", "--", "--json"], 'Unexpected argument "--json"', /See --help/],
];

for (const words of accepted) {
  test(`checkArguments() accepts ${JSON.stringify(words.join(" "))}`, () => checkArguments(words, definitions));
}

for (const [words, message, fix] of refused) {
  test(`checkArguments() refuses ${JSON.stringify(words.join(" "))}`, async () => {
    await assert.rejects(checkArguments(words, definitions), (error) => {
      assert.ok(error instanceof ScriptError);
      assert.deepEqual([error.code, error.exitCode, error.message], ["USAGE", 2, message]);
      assert.match(error.fix ?? "", fix);
      return true;
    });
  });
}
