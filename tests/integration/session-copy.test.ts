import assert from "node:assert/strict";
import { test } from "node:test";
import { copyIn, copyOut } from "../../scripts/lib/archive/copy.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { assertCode, backendOf, codeOf, cutCodes, inTime, terminate, useGround } from "../support/session.ts";

const ground = useGround();

const faults: Record<string, { readonly codes: readonly string[]; end(pid: number): Promise<void> }> = {
  "pg_terminate_backend()": { codes: ["57P01"], end: (pid) => terminate(ground.admin, pid) },
  "the network": { codes: cutCodes, end: async () => ground.proxy.cut() },
};

const places: Record<string, (sql: Sql, work: (sql: Sql) => Promise<unknown>) => Promise<unknown>> = {
  "outside a transaction": (sql, work) => work(sql),
  "in a transaction": (sql, work) => inTransaction(sql, work),
};

/** @param isLost settles once the client knows that the session has ended */
type Copy = (sql: Sql, end: () => Promise<void>, isLost: Promise<void>) => Promise<number>;

const copies: Record<string, Copy> = {
  "COPY FROM that waits for rows": (sql, end, isLost) =>
    copyIn(
      sql,
      "copy notes from stdin",
      (async function* () {
        yield Buffer.from("1\tfirst\n");
        await end();
        await inTime(isLost);
        yield Buffer.from("2\tsecond\n");
      })(),
    ),
  "COPY FROM of many rows": (sql, end) =>
    copyIn(
      sql,
      "copy notes from stdin",
      (async function* () {
        for (let id = 0; id < 200; id++) {
          if (id === 100) await end();
          yield Buffer.from(`${id}\t${"x".repeat(5000)}\n`);
        }
      })(),
    ),
  "COPY TO of many rows": async (sql, end) => {
    let isFirst = true;
    return copyOut(sql, "copy (select repeat('x', 1000) from generate_series(1, 50000)) to stdout", async () => {
      if (isFirst) await end();
      isFirst = false;
    });
  },
};

for (const [fault, { codes, end }] of Object.entries(faults)) {
  for (const [place, run] of Object.entries(places)) {
    for (const [name, copy] of Object.entries(copies)) {
      test(`${name} ${place} whose session is ended by ${fault} rejects`, async () => {
        const lost = Promise.withResolvers<void>();
        await using pool = ground.open({ onSessionLost: () => lost.resolve() });
        const pid = await backendOf(pool.sql);
        const code = await codeOf(run(pool.sql, (sql) => copy(sql, () => end(pid), lost.promise)));
        // A server with unread rows resets the connection, and one that is blocked by rows it sends says nothing.
        assertCode(code, name.includes("many rows") ? [...codes, ...cutCodes] : codes);
        assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
        assert.equal(await inTime(copyIn(pool.sql, "copy notes from stdin", oneRow())), 1);
        assert.deepEqual(await ground.notes(), [9]);
      });
    }
  }
}

async function* oneRow() {
  yield Buffer.from("9\tlast\n");
}

test("a transaction that fails during COPY rejects with its own error, and blocks nobody", async () => {
  await using pool = ground.open();
  const copies: Record<string, (tx: Sql) => Promise<unknown>> = {
    in: async (tx) => (await tx`copy notes (id) from stdin`.writable()).write("1\n"),
    out: async (tx) => tx`copy (select generate_series(1, 300000)) to stdout`.readable(),
  };
  for (const begin of Object.values(copies)) {
    const failed = inTransaction(pool.sql, async (tx) => {
      await begin(tx);
      throw new Error("mine");
    });
    assert.equal(await codeOf(failed), "mine");
    assert.equal((await inTime(pool.sql`select from notes`)).length, 0);
  }
});

const abandoned: Record<string, (sql: Sql) => Promise<unknown>> = {
  "whose reader stops": async (sql) => {
    for await (const _piece of await sql`copy (select generate_series(1, 300000)) to stdout`.readable()) break;
    return sql`select 1`;
  },
  "from stdin without a stream": (sql) => sql.unsafe("copy notes (id) from stdin"),
  "to stdout without a stream": (sql) => sql.unsafe("copy notes to stdout"),
};

for (const [place, run] of Object.entries(places)) {
  for (const [name, copy] of Object.entries(abandoned)) {
    test(`a COPY ${name} ${place} blocks nobody`, async () => {
      await using pool = ground.open();
      await inTime(run(pool.sql, copy).catch((error) => assert.match(error.code, /^COPY_/)));
      assert.deepEqual([...(await inTime(pool.sql`select 7 as n`))], [{ n: 7 }]);
    });
  }
}

test("a transaction commits after a COPY whose stream has ended, and rejects if it has not", async () => {
  await using pool = ground.open();
  await inTransaction(pool.sql, async (tx) => (await tx`copy notes (id) from stdin`.writable()).end("1\n"));
  const unfinished = inTransaction(pool.sql, async (tx) =>
    (await tx`copy notes (id) from stdin`.writable()).write("2\n"),
  );
  assert.equal(await codeOf(unfinished), "COPY_ABANDONED");
  assert.deepEqual(await ground.notes(), [1]);
});
