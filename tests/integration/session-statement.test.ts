import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inSavepoint, inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { assertCode, codeOf, cutCodes, inTime, running, terminate, useGround } from "../support/session.ts";

const ground = useGround();

/** A pool of one answers the next statement, and correctly. */
async function assertUsable(sql: Sql): Promise<void> {
  assert.deepEqual([...(await inTime(sql`select ${7}::integer as n`))], [{ n: 7 }]);
  const kinds = await inTransaction(sql, async (tx) => [...(await tx`select n from generate_series(1, 3) n`)]);
  assert.deepEqual(kinds, [{ n: 1 }, { n: 2 }, { n: 3 }]);
}

const codes = ["57P01", ...cutCodes];

/** Where a statement can run. */
const places: Record<string, (sql: Sql, work: (sql: Sql) => Promise<void>) => Promise<void>> = {
  "outside a transaction": (sql, work) => work(sql),
  "in a transaction": (sql, work) => inTransaction(sql, work),
  "in a savepoint": (sql, work) => inTransaction(sql, (tx) => inSavepoint(tx, work)),
  "in a reservation": async (sql, work) => {
    const reserved = await inTime(sql.reserve());
    await work(reserved as unknown as Sql).finally(() => reserved.release());
  },
};

/** Statements whose result has begun, or not, when the session ends. */
const interrupted: Record<string, (sql: Sql) => PromiseLike<unknown>> = {
  "before its result": (sql) => sql`select pg_sleep(100)`,
  "before its result, with parameters": (sql) => sql`select pg_sleep(100), ${"one"}::text`,
  "after its first rows": (sql) => sql`
    select repeat('x', 100), case when n = 500 then pg_sleep(100) end from generate_series(1, 1000) n`,
  "as a script": (sql) => sql.unsafe("select 1; select pg_sleep(100); select 2"),
};

for (const [place, run] of Object.entries(places)) {
  test(`a statement ${place} whose session is terminated rejects with the reason`, async () => {
    await using pool = ground.open();
    for (const [name, send] of Object.entries(interrupted)) {
      let code: string | undefined;
      const whole = run(pool.sql, async (sql) => {
        code = await codeOf(send(sql));
      }).then(undefined, (error: { code?: string }) => error.code);
      await terminate(ground.admin, await running(ground.admin, "pg_sleep"));
      const outcome = await inTime(whole);
      assert.equal(code, "57P01", name);
      if (place.endsWith("transaction") && place.startsWith("in")) assert.equal(outcome, "57P01", name);
      await assertUsable(pool.sql);
    }
  });

  test(`a large result ${place} that the network cuts rejects`, async () => {
    await using pool = ground.open();
    const large = (sql: Sql) => sql`select repeat('x', 1000) as text from generate_series(1, 2000)`;
    for (const bytes of [0, 1, 1500, 70_000, 1_000_000]) {
      let code: string | undefined;
      const whole = run(pool.sql, async (sql) => {
        await sql`select 1`;
        ground.proxy.cutAfter(bytes);
        code = await codeOf(large(sql));
      }).catch(() => {});
      await inTime(whole);
      ground.proxy.cutAfter(Infinity);
      assertCode(code, cutCodes);
      await assertUsable(pool.sql);
    }
  });

  test(`statements ${place} that were sent together all settle when their session ends`, async () => {
    await using pool = ground.open({ max: 1 });
    for (const isCut of [false, true]) {
      let outcomes: (string | undefined)[] = [];
      const whole = run(pool.sql, async (sql) => {
        outcomes = await Promise.all(
          [sql`select pg_sleep(100)`, sql`select ${1}::integer + 1 as n`, sql`select 3 as n`].map((sent) =>
            sent.then(
              () => "answered",
              (error: { code?: string }) => error.code,
            ),
          ),
        );
      }).catch(() => {});
      const pid = await running(ground.admin, "pg_sleep");
      if (isCut) ground.proxy.cut();
      // A server does not notice a cut while it executes a statement.
      await (isCut ? inTime(whole) : undefined);
      await terminate(ground.admin, pid);
      await inTime(whole);
      assertCode(outcomes[0], isCut ? cutCodes : ["57P01"]);
      // Outside of a transaction, the others were not sent yet and run in the next session.
      const rest = place.startsWith("outside") ? ["answered"] : codes;
      for (const outcome of outcomes.slice(1)) assertCode(outcome, rest);
      await assertUsable(pool.sql);
    }
  });

  test(`a cursor ${place} whose session ends between two pages does not end early`, async () => {
    await using pool = ground.open();
    for (const isCut of [false, true]) {
      const seen: number[] = [];
      const whole = run(pool.sql, async (sql) => {
        const rows = sql<
          { n: number; pid: number }[]
        >`select n, pg_backend_pid() as pid from generate_series(1, 100) n`;
        for await (const page of rows.cursor(10)) {
          seen.push(...page.map(({ n }) => n));
          if (seen.length < 20) continue;
          if (isCut) ground.proxy.cut();
          else await terminate(ground.admin, page[0]?.pid ?? 0);
        }
      });
      assertCode(await codeOf(whole), isCut ? cutCodes : codes);
      assert.equal(seen.length, 20);
      await assertUsable(pool.sql);
    }
  });
}

test("only the statement that was sent rejects when its session ends; the waiting ones run in the next", async () => {
  await using pool = ground.open();
  const first = codeOf(pool.sql`select pg_sleep(100)`);
  const waiting = [1, 2, 3].map((n) => inTime(pool.sql`insert into notes values (${n}, 'waited')`));
  const begun = inTime(inTransaction(pool.sql, async (tx) => tx`insert into notes values (4, 'waited')`));
  await terminate(ground.admin, await running(ground.admin, "pg_sleep"));
  assert.equal(await first, "57P01");
  await Promise.all([...waiting, begun]);
  assert.deepEqual(await ground.notes(), [1, 2, 3, 4]);
});

test("a prepared statement works after ALTER TABLE changed the type of its result", async () => {
  await using pool = ground.open();
  const read = () => pool.sql`select * from altered where id = ${1}`;
  await ground.admin.unsafe("create table altered (id integer, amount integer); insert into altered values (1, 5)");
  assert.deepEqual([...(await read())], [{ id: 1, amount: 5 }]);
  await ground.admin.unsafe("alter table altered alter amount type text");
  assert.deepEqual([...(await inTime(read()))], [{ id: 1, amount: "5" }]);
  await ground.admin.unsafe("alter table altered add extra boolean default true");
  assert.deepEqual([...(await inTime(read()))], [{ id: 1, amount: "5", extra: true }]);
});

test("a statement behind a repeated one of a failed transaction fails, too", async () => {
  await using pool = ground.open();
  const { sql } = pool;
  await sql.unsafe("create temporary table changing (n integer)");
  const read = (on: Sql) => on`select * from changing where n = ${1}`;
  await read(sql);
  await sql.unsafe("alter table changing add column m integer");
  const codesSeen: (string | undefined)[] = [];
  const whole = inTransaction(sql, async (tx) => {
    const first = codeOf(read(tx));
    codesSeen.push(await codeOf(tx`select 1`), await codeOf(tx`select 2`), await first);
  });
  assert.equal(await codeOf(whole), "25P02");
  assert.deepEqual(codesSeen, ["25P02", "25P02", "0A000"]);
});
