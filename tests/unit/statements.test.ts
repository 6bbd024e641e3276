import assert from "node:assert/strict";
import { test } from "node:test";
import { parseStatements, SyntaxFailure } from "../../scripts/lib/schema/statements.ts";

const caseCount = 10_000;

/** One statement each, with what ends or contains statements for a naive splitter. */
const statements: readonly string[] = [
  "select 1",
  "select ';', 'it''s; -- no comment', '/* none */'",
  "select E'\\';', e'\\\\', E'a\\'\\';b'",
  "select U&'\\0441\\043B;', U&'d!0061;' uescape '!'",
  "select B'01', X'1F', N';'",
  "select 'a;'\n  'b;'",
  "select $$;$$, $a$ $$; $b$ ; $a$, $ä$;$ä$, $_1$;'$_1$",
  'select 1 as ";", 2 as "a"";b", 3 as "--", 4 as "/*"',
  'select U&"d\\0061;" from (select 1 as data) as t',
  "select /* a; /* nested; */ ; */ 1 -- b;",
  "select 1 -- c\r\n, 2",
  "select '🐘;é', 𝔞 from (values (1)) as t (𝔞) -- 🐘;",
  "select 'a\r\n;b'",
  "select a[1:2], '{}'::jsonb @> '{}', 5 * -3, @ -1, 2 <> - 1 from t",
  "select $1",
  "insert into t values (1, ';'), (2, 'x') on conflict do nothing returning *",
  "with a as (select 1), b as (delete from t returning *) select * from a, b",
  "create function f() returns int language plpgsql as $$ begin if true then return 1; end if; end; $$",
  "create function f() returns int language sql as 'select 1; select '';''::int'",
  "create function f(a int) returns int language sql begin atomic select 1; select case when a = 1 then 2 end; end",
  "create procedure p() begin atomic insert into t values (1); delete from t; end",
  "create function f() returns int return 1 + 1",
  "create or replace rule r as on insert to t do instead (insert into u values (1); delete from t; notify n)",
  "create schema s create table t (a int) create view v as select ';' as a grant select on t to public",
  "do $do$ declare x text := ';'; begin execute $$select ';'$$; commit; end $do$",
  "do language plpgsql E'begin null; end;'",
  "begin",
  "begin isolation level serializable, read only",
  "end",
  "commit and chain",
  "rollback to savepoint a",
  "comment on table t is 'begin; commit;'",
  'create table t (a int default 1 check (a > 0), b text collate "C;")',
  'alter table t add column "x;y" int, drop column b',
  "copy t to stdout with (format csv, delimiter ';', quote E'\\'')",
  "create trigger g after update on t for each row when (old.* is distinct from new.*) execute function f(';')",
  "prepare p as select $1::text || ';'",
  "explain (analyze, format json) select ';'",
  'set search_path = a, "b;c"',
  'grant select on t to "role;"',
  "merge into t using u on t.a = u.a when matched then delete when not matched then do nothing",
  'listen ";"',
  "create operator ==> (leftarg = int, rightarg = int, function = f)",
];

/** What may be between statements, besides a semicolon. */
const blanks: readonly string[] = [
  "",
  " ",
  "\n",
  "\r\n\t",
  "\f\v ",
  ";",
  " ; ;",
  "-- a; b\n",
  "--\r\n",
  '-- 🐘 it\'s "quoted" $$ /* \n',
  "/* a; */",
  "/* 'a /* \"b; */ $$ -- */\n",
  "/**/",
  "/* é 🐘\r\n; */",
];

/** Same numbers in each run (mulberry32). */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

interface Case {
  readonly text: string;
  readonly statements: readonly string[];
}

function generate(random: (below: number) => number): Case {
  const pick = (from: readonly string[]) => from[random(from.length)] as string;
  const gap = () => Array.from({ length: random(4) }, () => pick(blanks)).join("");
  const chosen = Array.from({ length: random(4) }, () => pick(statements));
  // A line break, because some statements end with a comment.
  const parts = chosen.map((statement, index) => (index === 0 ? "" : "\n;") + gap() + statement);
  return { text: `${parts.join("")}\n${gap()}`, statements: chosen };
}

/** Skips what PostgreSQL skips: blanks, semicolons and comments, which nest. */
function withoutBlanks(gap: string): string {
  let rest = gap;
  for (let before = ""; before !== rest; ) {
    before = rest;
    rest = rest.replace(/^[\s;]+/, "").replace(/^--[^\n\r]*/, "");
    if (rest.startsWith("/*")) rest = rest.slice(commentLength(rest));
  }
  return rest;
}

function commentLength(text: string): number {
  let depth = 0;
  for (const { 0: mark, index } of text.matchAll(/\/\*|\*\//g)) {
    depth += mark === "/*" ? 1 : -1;
    if (depth === 0) return index + mark.length;
  }
  return text.length;
}

test(`${caseCount} generated texts are split where a statement begins and ends`, async () => {
  const random = generator(20_240_117);
  for (let index = 0; index < caseCount; index++) {
    const { text, statements: expected } = generate(random);
    const parsed = await parseStatements(text);
    assert.equal(parsed.length, expected.length, text);
    let end = 0;
    for (const [at, statement] of parsed.entries()) {
      assert.equal(text.slice(statement.start, statement.end), statement.text, text);
      assert.equal(withoutBlanks(text.slice(end, statement.start)), "", text);
      assert.ok(statement.text.startsWith(expected[at] as string), text);
      assert.equal(withoutBlanks(statement.text.slice(expected[at]?.length)), "", text);
      end = statement.end;
    }
    assert.equal(withoutBlanks(text.slice(end)), "", text);
  }
});

for (const text of statements) {
  test(`${JSON.stringify(text.slice(0, 50))} is one statement`, async () => {
    const [only, ...others] = await parseStatements(text);
    assert.deepEqual([only?.start, others.length], [0, 0]);
  });
}

const refused: readonly (readonly [text: string, at: string])[] = [
  ["select 1; creat table t ()", "creat"],
  ["select '🐘é';\r\n  selec 2", "selec"],
  ["select 'open", "'open"],
  ["select 1; /* open", "/* open"],
  ['select "open', '"open'],
  ["select $a$ open $b$", "$a$"],
  ["\\c other", "\\c"],
  ["select 🐘🐘 frm x y", "x"],
];

for (const [text, at] of refused) {
  test(`the syntax error of ${JSON.stringify(text)} is at ${at}`, async () => {
    await assert.rejects(parseStatements(text), (error) => {
      assert.ok(error instanceof SyntaxFailure);
      assert.equal(text.slice(error.offset, error.offset + at.length), at);
      return true;
    });
  });
}
