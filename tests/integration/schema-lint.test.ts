import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { Catalog } from "../../scripts/lib/schema/lint/catalog.ts";
import { lintFiles } from "../../scripts/lib/schema/lint/lint.ts";
import { lintFile } from "../../scripts/lib/schema/lint/lint-file.ts";
import { ownRules, suppressibleRules } from "../../scripts/lib/schema/lint/rules.ts";
import { readSchema } from "../../scripts/lib/schema/source.ts";
import { cleanFiles, files, statements } from "../support/lint-corpus.ts";

/** @returns `line rule` of each finding */
async function found(...texts: readonly string[]): Promise<string[]> {
  const last = texts.length - 1;
  const linted = texts.map((text, index) => ({ path: `migrations/${index}.sql`, text }));
  const { findings } = await lintFiles(linted, ({ path }) => path === `migrations/${last}.sql`);
  return findings.map(({ line, rule }) => `${line} ${rule}`);
}

for (const [rule, wrong, right] of statements) {
  test(`${rule} is found`, async () => {
    for (const text of wrong) assert.deepEqual(await found(text), [`${lineOf(text)} ${rule}`], text);
  });

  test(`${rule} is not found in the better statement`, async () => {
    for (const texts of right) assert.deepEqual(await found(...[texts].flat()), [], String(texts));
  });
}

for (const [name, text, expected] of files) {
  test(`the findings in a file in the manner of ${name} are the expected ones`, async () => {
    assert.deepEqual(await found(text), expected);
  });
}

for (const [name, texts] of cleanFiles) {
  test(`nothing is found in ${name}`, async () => assert.deepEqual(await found(...texts), []));
}

test("every rule is in the corpus, with a statement that it finds and one that it does not", () => {
  const tried = new Set(statements.filter(([, , right]) => right.length > 0).map(([rule]) => rule));
  assert.deepEqual(
    [...suppressibleRules].filter((rule) => !tried.has(rule)),
    [],
  );
});

test("sql/README.md lists every rule, and no other", async () => {
  const readme = await readFile(join(assetsDir, "sql/README.md"), "utf8");
  const section = readme.split("### Lint\n")[1]?.split("\n### ")[0] ?? "";
  const listed = [...section.matchAll(/^\| `([a-z-]+)`/gm)].map((match) => match[1]);
  const own = Object.values(ownRules).map(({ id }) => id);
  assert.deepEqual(listed.toSorted(), [...new Set([...suppressibleRules, ...own])].toSorted());
});

test("what is found in the product's own files is about locks of tables that exist", async () => {
  const catalog = new Catalog();
  const findings = [];
  for (const file of await readSchema()) findings.push(...(await lintFile(file, catalog, "cqrs")));
  assert.deepEqual(
    findings.map(({ file, rule }) => `${file.split("/sql/")[1]} ${rule}`),
    [
      "migrations/0011-streams-by-type.sql index-not-concurrent",
      "migrations/0012-migrations-of-projects.sql check-without-not-valid",
      "migrations/0012-migrations-of-projects.sql check-without-not-valid",
      "migrations/0012-migrations-of-projects.sql unique-without-index",
      "optional/event-data-index.sql index-not-concurrent",
    ],
  );
});

test("every table, function and trigger of the product is protected", async () => {
  const names = ["domain_event", "event_stream", "redaction", "log_epoch", "snapshot"];
  for (const name of names) {
    assert.deepEqual(await found(`alter table event_store.${name} add column x int;`), ["1 event-store-change"]);
    assert.deepEqual(await found(`delete from ${name} where true;`), ["1 event-store-write"]);
  }
  for (const name of ["projection", "projection_version", "dead_letter", "inline_position"]) {
    assert.deepEqual(await found(`update read_model.${name} set x = 1;`), ["1 event-store-write"], name);
  }
});

test("a table of the project that has the name of one of the product is its own", async () => {
  const create = "create table command_model.snapshot (id int, a text);";
  assert.deepEqual(await found(create, "update snapshot set a = '' where id = 1;"), []);
  assert.deepEqual(await found(create, "update event_store.snapshot set state = '1' where true;"), [
    "1 event-store-write",
  ]);
});

test("a finding has its position, and says why and what to write", async () => {
  const text = "-- 🐘\n  /* é */ grant update on :{app}.t to :{app}; drop table 🐘;";
  const { findings, checked } = await lintFiles([{ path: "cqrs/a.sql", text }]);
  assert.equal(checked, 1);
  assert.deepEqual(findings, [
    {
      file: "cqrs/a.sql",
      line: 2,
      column: 47,
      rule: "drop-table",
      message: "🐘 is dropped",
      why: "Programs that still use it fail, and its rows cannot be brought back.",
      better: "First deploy programs that no longer use it. Then drop it, with this rule suppressed and the reason.",
    },
  ]);
});

const unparsable: readonly (readonly [name: string, text: string, finding: string, why: RegExp])[] = [
  ["a misspelt word", "select 1;\ncreat table t ();", "2:1 syntax-error", /refuses the file/],
  ["a text that ends too early", "create table t (a int", "1:22 syntax-error", /refuses the file/],
  ["psql's \\c", "select 1;\n  \\c other\nselect 2;", "2:3 syntax-error", /psql/],
  ["psql's \\copy", "\\copy t from 'x.csv'", "1:1 syntax-error", /psql/],
  ["psql's \\set", "\\set ON_ERROR_STOP on\nselect 1;", "1:1 syntax-error", /psql/],
  ["the data of COPY", "copy t (a) from stdin;\n1\tx\n\\.\n", "2:1 syntax-error", /data for psql/],
  ["an unknown placeholder", "select 1;\nselect :{role};", "2:8 unknown-placeholder", /Only :\{database\}/],
];

for (const [name, text, expected, why] of unparsable) {
  test(`${name} is a finding with its position`, async () => {
    const { findings } = await lintFiles([{ path: "a.sql", text }]);
    assert.deepEqual(
      findings.map(({ line, column, rule }) => `${line}:${column} ${rule}`),
      [expected],
    );
    assert.match(findings[0]?.why ?? "", why);
  });
}

const suppressions: readonly (readonly [name: string, text: string, expected: readonly string[]])[] = [
  ["above the statement", "-- lint-ignore drop-table: unused since May\ndrop table t;", []],
  ["above it, with other comments between", "-- lint-ignore drop-table: unused\n\n-- Old.\ndrop table t;", []],
  ["at the end of its line", "drop table t; -- lint-ignore drop-table: unused", []],
  ["within the statement", "drop table -- lint-ignore drop-table: unused\n  t;", []],
  ["of two rules", "-- lint-ignore drop-table, drop-cascade: unused\ndrop table t cascade;", []],
  ["without a reason", "-- lint-ignore drop-table\ndrop table t;", ["1 suppression", "2 drop-table"]],
  ["with an empty reason", "-- lint-ignore drop-table: \ndrop table t;", ["1 suppression", "2 drop-table"]],
  ["of an unknown rule", "-- lint-ignore drop-tables: unused\ndrop table t;", ["1 suppression", "2 drop-table"]],
  ["without a rule", "-- lint-ignore: unused\ndrop table t;", ["1 suppression", "2 drop-table"]],
  ["that suppresses nothing", "-- lint-ignore truncate: small\nselect 1;", ["1 suppression"]],
  ["at the end of the file", "select 1;\n-- lint-ignore truncate: small", ["2 suppression"]],
  ["of another statement", "-- lint-ignore drop-table: a\nselect 1;\ndrop table t;", ["1 suppression", "3 drop-table"]],
  ["in a string", "select '\n-- lint-ignore drop-table: a\n';\ndrop table t;", ["4 drop-table"]],
  ["after a non-ASCII text", "select '🐘é'; -- lint-ignore truncate: a\ntruncate t;", ["1 suppression", "2 truncate"]],
  ["that may not be suppressed", "-- lint-ignore suppression: a\nselect 1;", ["1 suppression"]],
];

for (const [name, text, expected] of suppressions) {
  test(`a suppression ${name}`, async () => assert.deepEqual(await found(text), expected));
}

/** The wrong statement of a text is its last one. */
function lineOf(text: string): number {
  return text.trimEnd().split("\n").length;
}
