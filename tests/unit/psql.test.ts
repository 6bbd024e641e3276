import assert from "node:assert/strict";
import { test } from "node:test";
import { formatResult, formatSqlError } from "../../scripts/lib/psql/format.ts";
import { divideTyped } from "../../scripts/lib/psql/statements.ts";

test("a statement ends with a semicolon, but not in a string, a comment, parentheses or a body", async () => {
  const whole = [
    "select 'a;b', e'\\';', \"c;d\", $$;$$, $x$;$$;$x$;",
    "select 1 -- ;\n, 2 /* ; /* ; */ ; */;",
    "create rule r as on insert to t do also (select 1; select 2);",
    "create function f() returns int begin atomic select 1; select 2; end;",
    "select 'é', '\u0001;', '😀;';",
    "selec 1;",
    ";",
  ];
  for (const statement of whole) {
    assert.deepEqual(await divideTyped(statement), { statements: [statement], rest: "" });
    const { statements, rest } = await divideTyped(`${statement} ${statement}\nselect`);
    assert.deepEqual([statements, rest.trim()], [[statement, statement], "select"]);
  }
});

test("what is not complete is kept", async () => {
  const open = ["", "select 1", "select ';", "select $a$;$$;", "select (1;", "/* ;", "-- ;\n"];
  const body = "create function f() returns int begin atomic select 1;";
  for (const typed of [...open, body]) assert.deepEqual(await divideTyped(typed), { statements: [], rest: typed });
});

function resultOf(rows: (string | null)[][], columns: [string, number][] | undefined, command: string) {
  const texts = rows.map((row) => row.map((value) => (value === null ? null : Buffer.from(value))));
  const named = columns?.map(([name, type]) => ({ name, type }));
  return Object.assign(texts, { columns: named, command, count: rows.length });
}

test("a result is a table in which null is visible, numbers are aligned and no value breaks a row", () => {
  const rows = [
    ["1", "é"],
    ["-20", null],
    ["3", "a\n\u001b[31mb\u007f"],
  ];
  const table = resultOf(
    rows,
    [
      ["number", 23],
      ["text", 25],
    ],
    "SELECT",
  );
  assert.equal(
    formatResult(table),
    [
      " number | text",
      "--------+----------------------",
      "      1 | é",
      "    -20 | NULL",
      "      3 | a\\n\\u001b[31mb\\u007f",
      "(3 rows)\n",
    ].join("\n"),
  );
  const none = resultOf([], undefined, "CREATE TABLE");
  const all = [Object.assign(none, { count: null }), resultOf([["1"]], undefined, "INSERT"), table.slice(0, 0)];
  assert.match(formatResult(all.slice(0, 2)), /^CREATE TABLE\nINSERT 1\n$/);
});

test("an error shows the line that it is about, its detail and its hint", () => {
  const error = Object.assign(new Error("bad"), {
    severity: "ERROR",
    code: "42601",
    position: "12",
    detail: "d",
    hint: "h",
  });
  assert.equal(
    formatSqlError(error, "select 1\n, 😀x"),
    "ERROR:  bad (42601)\nLINE 2: , 😀x\n          ^\nDETAIL:  d\nHINT:  h\n",
  );
  const long = formatSqlError(
    Object.assign(new Error("bad"), { position: "501" }),
    `${"a".repeat(500)}b${"c".repeat(500)}`,
  );
  const [, line = "", caret = ""] = long.split("\n");
  assert.ok(line.length < 140);
  assert.equal(line[caret.indexOf("^")], "b");
});
