// Connections that are cut after every so many bytes: nothing hangs, and no result is wrong.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inSavepoint, inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import type { Direction } from "../support/fault-proxy.ts";
import { testRounds } from "../support/runtime.ts";
import { failureOf, inTime, useGround } from "../support/session.ts";

const ground = useGround();
afterEach(async () => {
  ground.proxy.cutAfter(Infinity, "server");
  ground.proxy.cutAfter(Infinity, "client");
});

/** A wrong result, as opposed to an error because of a cut. */
class WrongResult extends Error {}

function expectRows(rows: readonly unknown[], expected: readonly unknown[]): void {
  if (JSON.stringify(rows) !== JSON.stringify(expected)) throw new WrongResult(JSON.stringify(rows));
}

type Work = (sql: Sql, id: number) => Promise<void>;

const works: Record<string, Work> = {
  "a statement": async (sql, id) => expectRows(await sql`select ${id}::integer as n`, [{ n: id }]),
  "a transaction": (sql, id) =>
    inTransaction(sql, async (tx) => {
      await tx`insert into notes values (${id}, 'a')`;
      expectRows(await tx`select id from notes where id = ${id}`, [{ id }]);
      await failureOf(inSavepoint(tx, async (savepoint) => savepoint`select 1 / 0`));
      expectRows(await tx`select 7 as n`, [{ n: 7 }]);
    }),
  "pipelined statements": (sql, id) =>
    inTransaction(sql, async (tx) => {
      const [one, two, three] = await Promise.all([
        tx`insert into notes values (${id}, ${"a"}) returning id`,
        tx`select n from generate_series(1, 3) n`,
        tx`select ${id}::integer as n`,
      ]);
      expectRows(one, [{ id }]);
      expectRows(two, [{ n: 1 }, { n: 2 }, { n: 3 }]);
      expectRows(three, [{ n: id }]);
    }),
  "a cursor": (sql, id) =>
    inTransaction(sql, async (tx) => {
      const seen: unknown[] = [];
      for await (const page of tx`select n from generate_series(1, 6) n`.cursor(2)) seen.push(...page);
      expectRows(
        seen,
        [1, 2, 3, 4, 5, 6].map((n) => ({ n })),
      );
      await tx`insert into notes values (${id}, 'a')`;
    }),
  "a reservation": async (sql, id) => {
    const reserved = await sql.reserve();
    try {
      expectRows(await reserved`select ${id}::integer as n`, [{ n: id }]);
      expectRows(await reserved`select 7 as n`, [{ n: 7 }]);
    } finally {
      reserved.release();
    }
  },
};

/** @returns whether the work succeeded on a connection that is cut after `bytes` */
async function runCut(sql: Sql, work: Work, bytes: number, from: Direction): Promise<boolean> {
  ground.proxy.cutAfter(bytes, from);
  const outcome = await inTime(
    work(sql, bytes).then(
      () => undefined,
      (error: unknown) => ({ error }),
    ),
  );
  ground.proxy.cutAfter(Infinity, from);
  if (outcome?.error instanceof WrongResult) throw outcome.error;
  return outcome === undefined;
}

// A login takes about 600 bytes from the server and 400 from the client.
const lastByte = { server: 1100, client: 900 };
const step = testRounds(1) > 1 ? 1 : 13;

for (const [name, work] of Object.entries(works)) {
  for (const from of ["server", "client"] as const) {
    test(`a cut after any number of bytes from the ${from} neither hangs nor spoils ${name}`, async () => {
      await using pool = ground.open();
      const succeeded: number[] = [];
      let runs = 0;
      for (let bytes = 0; bytes <= lastByte[from]; bytes = bytes === 0 ? 1 : bytes + step) {
        if (await runCut(pool.sql, work, bytes, from)) succeeded.push(bytes);
        // Otherwise the next run begins with a login.
        if (++runs % 4 === 0) expectRows(await inTime(pool.sql`select ${bytes}::integer as n`), [{ n: bytes }]);
      }
      assert.ok(succeeded.length > 0 && succeeded.length < runs, `${succeeded.length} of ${runs} succeeded`);
      const stored = await ground.notes();
      if (stored.length > 0) {
        assert.deepEqual(
          succeeded.filter((id) => !stored.includes(id)),
          [],
        );
      }
    });
  }
}
