// Routines call each other, so they change together.
import assert from "node:assert/strict";
import { test } from "node:test";
import { withDatabase } from "../support/database.ts";
import { eventually } from "../support/projection.ts";
import { apply, type Files, failure, readLedger, withFiles } from "../support/schema-folder.ts";

/** Two functions, one of which calls the other; the file of the second one waits for a lock of the table. */
function callers(parameter: "" | "int"): Files {
  const [call, earlier] = parameter === "" ? ["()", "(int)"] : ["(42)", "()"];
  return {
    "routines/functions/public.answer.sql": `
      create or replace function public.answer() returns text language plpgsql as
      $$begin return public.base${call}; end$$;`,
    "routines/functions/public.base.sql": `
      drop function if exists public.base${earlier};
      lock table public.first;
      create or replace function public.base(${parameter}) returns text language sql as $$select 'base${call}'$$;`,
  };
}

test("applySchema() changes routines together, so that no call finds the new caller and the earlier callee", async () => {
  await using database = await withDatabase({ isEmpty: true });
  await using folder = await withFiles({ "migrations/0001-first.sql": "create table public.first (id int);" });
  await folder.write(callers(""));
  await apply(database.administrator, folder);
  await folder.write(callers("int"));
  let applying: Promise<unknown> = Promise.resolve();
  await database.admin.begin(async (tx) => {
    await tx`lock table public.first in row share mode`;
    applying = apply(database.administrator, folder);
    await eventually(async () => {
      const waiting = await database.admin`
        select from pg_locks where relation = 'public.first'::regclass and not granted`;
      return waiting.length === 1;
    });
    assert.deepEqual([...(await database.admin`select public.answer()`)], [{ answer: "base()" }]);
  });
  await applying;
  assert.deepEqual([...(await database.admin`select public.answer()`)], [{ answer: "base(42)" }]);
});

test("applySchema() rolls back all routines if one of them fails", async () => {
  await using database = await withDatabase({ isEmpty: true });
  const files = { "migrations/0001-first.sql": "create table public.first (id int);", ...callers("") };
  const view = "routines/views/public.a.sql";
  await using folder = await withFiles({ ...files, [view]: "create view public.a as select nowhere;" });
  const error = await failure(apply(database.administrator, folder));
  assert.match(error.fix ?? "", /All routines of this run were rolled back; the migrations before them stay applied/);
  assert.deepEqual(await readLedger(database.admin), ["migrations/0001-first.sql"]);
  await folder.write({ [view]: "create view public.a as select public.answer();" });
  assert.deepEqual((await apply(database.administrator, folder)).applied, [...Object.keys(callers("")), view]);
});
