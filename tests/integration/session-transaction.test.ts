import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inSavepoint, inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import {
  assertCode,
  backendOf,
  beforeForceMs,
  codeOf,
  cutCodes,
  failureOf,
  gone,
  inTime,
  terminate,
  useGround,
} from "../support/session.ts";

const ground = useGround();

interface Ending {
  readonly name: string;
  readonly codes: readonly string[];
  /** Ends the session of a transaction that is waiting for something else. */
  end(tx: Sql): Promise<void>;
}

const endings: readonly Ending[] = [
  {
    name: "pg_terminate_backend()",
    codes: ["57P01"],
    end: async (tx) => terminate(ground.admin, await backendOf(tx)),
  },
  {
    name: "idle_in_transaction_session_timeout",
    codes: ["25P03"],
    async end(tx) {
      const pid = await backendOf(tx);
      await tx`set local idle_in_transaction_session_timeout = '20ms'`;
      await gone(ground.admin, pid);
    },
  },
  {
    name: "the network",
    codes: cutCodes,
    async end(tx) {
      const pid = await backendOf(tx);
      ground.proxy.cut();
      await gone(ground.admin, pid);
    },
  },
];

/** Statements that a callback may send after its session has ended. */
const lateStatements: Record<string, (tx: Sql) => Promise<unknown>> = {
  statement: async (tx) => tx`insert into notes values (1, 'late')`,
  parameters: async (tx) => tx`insert into notes values (${1}, ${"late"})`,
  unsafe: async (tx) => tx.unsafe("insert into notes values (1, 'late'); select 1"),
  commit: async (tx) => tx`commit`,
  rollback: async (tx) => tx`rollback`,
  savepoint: (tx) => inSavepoint(tx, async (savepoint) => savepoint`insert into notes values (1, 'late')`),
  cursor: async (tx) => {
    for await (const _page of tx`select 1`.cursor(1));
  },
};

for (const { name, codes, end } of endings) {
  test(`a transaction that ${name} ended refuses every statement, with the reason`, async () => {
    await using pool = ground.open();
    const seen: (string | undefined)[] = [];
    const transaction = inTransaction(pool.sql, async (tx) => {
      await tx`insert into notes values (0, 'in time')`;
      await end(tx);
      for (const run of Object.values(lateStatements)) seen.push(await codeOf(run(tx)));
      return "the callback ignored it";
    });
    const code = await codeOf(transaction);
    assert.equal(seen.length, Object.keys(lateStatements).length);
    for (const each of [code, ...seen]) assertCode(each, codes);
    assert.deepEqual(await ground.notes(), []);
    assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
  });

  test(`a transaction that ${name} ended is not reported as committed`, async () => {
    await using pool = ground.open();
    const commits = [
      () => pool.sql.begin((tx) => end(tx as unknown as Sql)),
      () => inTransaction(pool.sql, (tx) => inSavepoint(tx, end)),
    ];
    for (const commit of commits) assertCode(await codeOf(commit()), codes);
    const inner = inTransaction(pool.sql, async (tx) => {
      const savepoint = inSavepoint(tx, async (point) => {
        await end(point);
        await failureOf(point`select 1`);
      });
      assertCode(await codeOf(savepoint), codes);
      throw new Error("seen");
    });
    assert.equal((await failureOf(inner)).message, "seen");
  });

  test(`the error of a callback is not replaced after ${name} ended its session`, async () => {
    await using pool = ground.open();
    const own = new Error("mine");
    const fail = async (tx: Sql) => {
      await end(tx);
      throw own;
    };
    assert.equal(await failureOf(inTransaction(pool.sql, fail)), own);
    assert.equal(await failureOf(inTransaction(pool.sql, (tx) => inSavepoint(tx, fail))), own);
    assert.equal(await failureOf(pool.sql.begin((tx) => fail(tx as unknown as Sql))), own);
    assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
  });

  for (const [late, run] of Object.entries(lateStatements)) {
    test(`a callback that outlives ${name} changes nothing in another transaction (${late})`, async () => {
      await using pool = ground.open();
      const [lost, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const refusal = Promise.withResolvers<string | undefined>();
      const zombie = inTransaction(pool.sql, async (tx) => {
        await end(tx);
        lost.resolve();
        await gate.promise;
        refusal.resolve(await codeOf(run(tx)).catch((error: Error) => error.message));
      });
      const outcome = codeOf(zombie);
      await inTime(lost.promise);
      const other = inTransaction(pool.sql, async (tx) => {
        await tx`insert into notes values (10, 'first')`;
        gate.resolve();
        const refused = await refusal.promise;
        await tx`insert into notes values (11, 'second')`;
        return refused;
      });
      assertCode(await inTime(other), codes);
      assertCode(await outcome, codes);
      assert.deepEqual(await ground.notes(), [10, 11]);
    });
  }

  test(`a callback that never ends does not keep its place after ${name} ended its session`, async () => {
    const pool = ground.open();
    const lost = Promise.withResolvers<void>();
    const hanging = inTransaction(pool.sql, async (tx) => {
      await end(tx);
      lost.resolve();
      await new Promise(() => {});
    });
    hanging.catch(() => {});
    await inTime(lost.promise);
    assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
    assert.equal(await inTime(inTransaction(pool.sql, async () => "next")), "next");
    await inTime(pool[Symbol.asyncDispose](), beforeForceMs);
  });
}
