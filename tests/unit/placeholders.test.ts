import assert from "node:assert/strict";
import { test } from "node:test";
import { ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { expandPlaceholders, offsetOf, placeholdersFor } from "../../scripts/lib/schema/placeholders.ts";
import type { SchemaFile } from "../../scripts/lib/schema/source.ts";

function fileOf(text: string): SchemaFile {
  return {
    source: "cqrs",
    name: "migrations/0001-a.sql",
    kind: "migration",
    path: "sql/migrations/0001-a.sql",
    text,
    checksum: "",
  };
}

/** Locates a text of the expanded SQL in the file, by the position that PostgreSQL would report. */
function locate(source: string, text: string): string {
  const expanded = expandPlaceholders(fileOf(source), placeholdersFor("cqrs_db"));
  const before = expanded.text.slice(0, expanded.text.indexOf(text));
  return expanded.locate(offsetOf(expanded.text, [...before].length + 1));
}

test("expandPlaceholders() replaces all placeholders with quoted names", () => {
  const { text } = expandPlaceholders(
    fileOf("grant connect on database :{database} to :{app}; -- :{owner}:{owner}"),
    placeholdersFor("cqrs_db"),
  );
  assert.equal(text, 'grant connect on database "cqrs_db" to "cqrs_app"; -- "cqrs_owner""cqrs_owner"');
});

test("expandPlaceholders() does not change a file without placeholders", () => {
  const text = `select '{1,2}'::int[], array[1:2], '$1', ':name', '{"a":{"b":1}}', '{"a":{}}'`;
  assert.equal(expandPlaceholders(fileOf(text), placeholdersFor("cqrs_db")).text, text);
});

test("placeholdersFor() quotes names with quotes and dots", () => {
  const { text } = expandPlaceholders(fileOf("comment on database :{database} is ''"), placeholdersFor('my."db"'));
  assert.equal(text, 'comment on database "my.""db""" is \'\'');
});

test("expandPlaceholders() does not expand the content of a name", () => {
  assert.equal(expandPlaceholders(fileOf(":{database}"), placeholdersFor(":{app} $&")).text, '":{app} $&"');
});

for (const name of ["role", "constructor", "APP"]) {
  test(`expandPlaceholders() refuses the placeholder ${JSON.stringify(name)} with its position`, () => {
    const file = fileOf(`select 1;\n  grant select on t to :{app}, :{${name}};`);
    assert.throws(
      () => expandPlaceholders(file, placeholdersFor("cqrs_db")),
      (error) => {
        assert.ok(error instanceof ScriptError);
        assert.deepEqual([error.code, error.exitCode], ["PLACEHOLDER", 2]);
        assert.equal(error.message, `${file.path}:2:32: unknown placeholder :{${name}}`);
        return true;
      },
    );
  });
}

const source = "grant all\n  on t to :{app} wrong :{owner}\n  again";

for (const [where, text, place] of [
  ["the first character", "grant", "1:1"],
  ["a position before the placeholder", "on t", "2:3"],
  ["the beginning of a value", '"cqrs_app"', "2:11"],
  ["a position between two placeholders", "wrong", "2:18"],
  ["the beginning of a second value", '"cqrs_owner"', "2:24"],
  ["a line after the placeholders", "again", "3:3"],
] as const) {
  test(`locate() finds ${where}`, () => assert.equal(locate(source, text), place));
}

test("locate() maps every position inside a value to its placeholder", () => {
  for (const text of ['"cqrs_app"', "cqrs_app", "app", 'p"']) {
    const [line, column] = locate(source, text).split(":").map(Number) as [number, number];
    assert.equal(line, 2);
    assert.ok(column >= 11 && column <= 17, `column ${column} of ${text}`);
  }
});

test("locate() counts an emoji as one character", () => {
  assert.equal(locate("-- 🐘🐘 :{app}\n'🐘🐘' :{owner} wrong", "wrong"), "2:15");
  assert.equal(locate("'🐘' wrong", "wrong"), "1:5");
});
