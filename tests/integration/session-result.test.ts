// A failed statement spoils neither the result of the next one nor that of its neighbours.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inSavepoint, inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { codeOf, inTime, running, useGround } from "../support/session.ts";

const ground = useGround();

async function readPages(pages: AsyncIterable<readonly unknown[]>): Promise<number> {
  let count = 0;
  for await (const page of pages) count += page.length;
  return count;
}

const slow = "select n, case when n = 500 then pg_sleep(100) end from generate_series(1, 1000) n";

/** Statements that fail after their first rows, and the code they fail with. */
const failing: Record<string, { readonly code: string; run(sql: Sql): PromiseLike<unknown> }> = {
  "a division by zero": {
    code: "22012",
    run: (sql) => sql`select 1 / (500 - n) as x from generate_series(1, 1000) n`,
  },
  "a division by zero, with parameters": {
    code: "22012",
    run: (sql) => sql`select ${1}::integer / (500 - n) as x from generate_series(1, 1000) n`,
  },
  "a division by zero in a script": {
    code: "22012",
    run: (sql) => sql.unsafe("select 1 / (500 - n) as x from generate_series(1, 1000) n"),
  },
  "a division by zero in the third page of a cursor": {
    code: "22012",
    run: (sql) => readPages(sql`select 1 / (25 - n) as x from generate_series(1, 1000) n`.cursor(10)),
  },
  "a callback of a cursor that throws": {
    code: "stop",
    run: (sql) =>
      sql`select n from generate_series(1, 1000) n`.cursor(10, () => {
        throw new Error("stop");
      }),
  },
  "a function that raises": {
    code: "22P02",
    run: (sql) => sql`select case when n = 900 then 'x' else '1' end::integer as x from generate_series(1, 1000) n`,
  },
  statement_timeout: {
    code: "57014",
    // Only for this statement: a busy server may need longer for those that follow.
    run: (sql) => sql.unsafe(`select set_config('statement_timeout', '50ms', true); ${slow}`),
  },
  "an error that quotes three megabytes": {
    code: "22P02",
    run: (sql) => sql`select ${"x".repeat(3_000_000)}::text::integer`,
  },
  "a cancelled statement": {
    code: "57014",
    async run(sql) {
      const failed = sql.unsafe(slow).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      await ground.admin`select pg_cancel_backend(${await running(ground.admin, "generate_series")})`;
      const outcome = await failed;
      if (outcome !== undefined) throw outcome.error;
    },
  },
};

/** The results of statements right after a failure; they must have exactly their own rows. */
async function assertOwnRows(sql: Sql): Promise<void> {
  assert.deepEqual([...(await inTime(sql`select 7 as n`))], [{ n: 7 }]);
  assert.deepEqual([...(await inTime(sql`select ${8}::integer as n union all select 9`))], [{ n: 8 }, { n: 9 }]);
  assert.equal(await inTime(readPages(sql`select from generate_series(1, 25)`.cursor(10))), 25);
  assert.equal((await inTime(sql.unsafe("select 1; select 2"))).length, 2);
  assert.equal((await inTime(sql`select where false`)).length, 0);
}

for (const [name, { code, run }] of Object.entries(failing)) {
  test(`${name} does not spoil the next result`, async () => {
    await using pool = ground.open();
    assert.equal(await codeOf(run(pool.sql)), code);
    await assertOwnRows(pool.sql);
  });

  test(`${name} does not spoil the next result in a reservation`, async () => {
    await using pool = ground.open();
    const reserved = await inTime(pool.sql.reserve());
    assert.equal(await codeOf(run(reserved as unknown as Sql)), code);
    await assertOwnRows(reserved as unknown as Sql);
    reserved.release();
    await assertOwnRows(pool.sql);
  });

  test(`${name} in a savepoint does not spoil the rest of the transaction`, async () => {
    await using pool = ground.open();
    await inTransaction(pool.sql, async (tx) => {
      assert.equal(await codeOf(inSavepoint(tx, async (savepoint) => run(savepoint))), code);
      await assertOwnRows(tx);
    });
    await assertOwnRows(pool.sql);
  });
}

const circular: Record<string, unknown> = {};
circular["self"] = circular;
const tooMany = Array.from({ length: 65_535 }, (_, index) => index);

/** Statements that the driver cannot write to the wire. */
const unsendable: Record<string, (sql: Sql) => PromiseLike<unknown>> = {
  "an undefined parameter": (sql) => sql`select ${undefined as never}::text as n`,
  "a circular parameter": (sql) => sql`select ${sql.json(circular as never)}::jsonb as n`,
  "too many parameters": (sql) => sql`select 1 where 1 in ${sql(tooMany)}`,
  "an undefined parameter of a raw statement": (sql) => sql.unsafe("select $1::text", [undefined as never]),
};

/** Without parameters: the driver does not wait for an answer before it sends the next one. */
async function answers(sql: Sql, numbers: readonly number[]): Promise<unknown[]> {
  const answer = (n: number) => sql.unsafe(`select ${n} as n`, [], { prepare: true });
  return Promise.all(numbers.map(async (n) => answer(n).then(([row]) => row?.["n"], outcomeOf)));
}

function outcomeOf(error: unknown): string {
  return error instanceof Error ? "failed" : "undefined";
}

for (const [name, send] of Object.entries(unsendable)) {
  test(`${name} fails the statement alone, among others of a pool`, async () => {
    await using pool = ground.open({ max: 2 });
    await pool.sql`select 1`;
    const early = answers(pool.sql, [1, 2, 3]);
    const refused = codeOf(send(pool.sql));
    const late = answers(pool.sql, [4, 5, 6]);
    assert.notEqual(await refused, undefined);
    assert.deepEqual(await inTime(Promise.all([early, late])), [
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });

  test(`${name} neither hangs nor swaps the other results of a transaction`, async () => {
    await using pool = ground.open();
    const settled = Promise.withResolvers<unknown[]>();
    const transaction = inTransaction(pool.sql, async (tx) => {
      await tx`select 1`;
      const early = answers(tx, [1, 2, 3]);
      const refused = send(tx).then(() => "answered", outcomeOf);
      const late = answers(tx, [4, 5, 6]);
      settled.resolve([...(await early), await refused, ...(await late)]);
    });
    const outcomes = await inTime(settled.promise);
    // The driver may fail the whole transaction, but then each statement fails.
    for (const [index, own] of [1, 2, 3, undefined, 4, 5, 6].entries()) {
      assert.ok(outcomes[index] === "failed" || outcomes[index] === own, `${outcomes}`);
    }
    await inTime(transaction.catch(() => {}));
    await assertOwnRows(pool.sql);
  });
}

test("statements sent behind a COMMIT by hand get their own rows or an error", async () => {
  await using pool = ground.open();
  const reserved = await inTime(pool.sql.reserve());
  await reserved`begin`;
  const [, , last] = await inTime(
    Promise.allSettled([
      reserved`commit`,
      reserved`select 1 / (5 - n) as x from generate_series(1, 9) n`,
      reserved`select 7 as n`,
    ]),
  );
  assert.equal(last.status === "rejected" && (last.reason as { code?: string }).code, "UNSAFE_TRANSACTION");
  reserved.release();
  await assertOwnRows(pool.sql);
});
