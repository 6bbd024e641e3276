import assert from "node:assert/strict";
import { test } from "node:test";
import { formatResult, formatSqlError } from "../../scripts/lib/psql/format.ts";
import { StatementReader } from "../../scripts/lib/psql/statements.ts";

/** Reads a text at once, and line by line: both must divide it equally. */
async function divideTyped(text: string): Promise<{ statements: readonly string[]; rest: string }> {
  const readers = [new StatementReader(), new StatementReader()] as const;
  const whole = await readers[0].add(text);
  const byLine: string[] = [];
  for (const line of text.match(/[^\n]*\n|[^\n]+/g) ?? []) byLine.push(...(await readers[1].add(line)));
  const [rest, otherRest] = readers.map((reader) => reader.end() ?? "");
  assert.deepEqual([byLine, otherRest], [whole, rest]);
  return { statements: whole, rest: rest ?? "" };
}

test("a statement ends with a semicolon, but not in a string, a comment, parentheses or a body", async () => {
  const whole = [
    "select 'a;b', e'\\';', \"c;d\", $$;$$, $x$;$$;$x$;",
    "select 1 -- ;\n, 2 /* ; /* ; */ ; */;",
    "create rule r as on insert to t do also (select 1; select 2);",
    "create function f() returns int begin atomic select 1; select 2; end;",
    "select 'é', '\u0001;', '😀;';",
    "selec 1;",
    ";",
    "select 123abc;",
    'select "";',
    "select 0x, 1_;",
    "select e'\\u12', '\\';",
    "select e'a''\\';', n';', x';', U&'\\;';",
    "select a$b$, $1, constructor from t$x$;",
    "select 'a\n;\n''\n', \";\n\", $x$\n;\n$$\n$x$ /* ;\n/*\n*/ ;\n*/;",
    "select 1);",
  ];
  for (const statement of whole) {
    assert.deepEqual(await divideTyped(statement), { statements: [statement], rest: "" });
    const { statements, rest } = await divideTyped(`${statement} ${statement}\nselect`);
    assert.deepEqual([statements, rest.trim()], [[statement, statement], "select"]);
  }
});

test("what is not complete is kept", async () => {
  const open = ["select 1", "select ';", "select $a$;$$;", "select (1;", "/* ;", "select e'\\';"];
  const body = "create function f() returns int begin atomic select 1;";
  for (const typed of [...open, body]) assert.deepEqual(await divideTyped(typed), { statements: [], rest: typed });
  for (const none of ["", " \n", "-- ;\n", "/* ; */ -- ;\n\n"]) {
    assert.deepEqual(await divideTyped(`select 1; ${none}`), { statements: ["select 1;"], rest: "" });
  }
});

test("reading is linear in the length of a statement of many lines with semicolons in them", async () => {
  for (const [before, line, after] of [
    ["insert into t values", "(1, 'a;b', e'\\';', $$;$$, \"c\") -- ;'", ";"],
    ["select '", "a;b -- ''", "';"],
    ["do $x$", "perform 'a;'; $$ /* $y$", "$x$;"],
    ["select /*", "; ' /* ; */", "*/ 1;"],
  ] as const) {
    const reader = new StatementReader();
    const startedAt = performance.now();
    const statements = [await reader.add(`${before}\n`)];
    for (let index = 0; index < 20_000; index++) statements.push(await reader.add(`${line}\n`));
    statements.push(await reader.add(`${after}\n`));
    assert.equal(statements.flat().length, 1);
    assert.ok(performance.now() - startedAt < 5_000, `takes ${performance.now() - startedAt} ms`);
  }
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
  assert.equal(formatResult(Object.assign([], { columns: null, command: null, count: null })), "");
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
