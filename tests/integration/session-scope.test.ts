// What a transaction, a savepoint and their handles may do while the session is sound.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inSavepoint, inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { assertCode, backendOf, codeOf, cutCodes, failureOf, inTime, until, useGround } from "../support/session.ts";

const ground = useGround();

/** Uses of a handle whose transaction is over. */
async function assertOver(tx: Sql): Promise<void> {
  const uses = [
    () => tx`insert into notes values (1, 'late')`,
    () => tx.unsafe("insert into notes values (1, 'late')"),
    () => inSavepoint(tx, async (savepoint) => savepoint`insert into notes values (1, 'late')`),
    () => tx`commit`,
  ];
  for (const use of uses) assert.equal(await codeOf(use()), "TRANSACTION_OVER");
}

test("a handle that is kept beyond the end of its transaction is refused", async () => {
  await using pool = ground.open();
  const kept: Sql[] = [];
  const keep = async (tx: Sql) => {
    await tx`select 1`;
    kept.push(tx);
  };
  await inTransaction(pool.sql, keep);
  await inTransaction(pool.sql, (tx) => inSavepoint(tx, keep));
  await pool.sql.begin((tx) => keep(tx as unknown as Sql));
  const rolledBack = inTransaction(pool.sql, async (tx) => {
    await keep(tx);
    throw new Error("mine");
  });
  assert.equal((await failureOf(rolledBack)).message, "mine");
  assert.equal(kept.length, 4);
  for (const tx of kept) await assertOver(tx);
  const during = inTransaction(pool.sql, async (other) => {
    await other`insert into notes values (2, 'other')`;
    for (const tx of kept) await assertOver(tx);
  });
  await inTime(during);
  assert.deepEqual(await ground.notes(), [2]);
});

test("the handle of a savepoint is refused once the savepoint is over", async () => {
  await using pool = ground.open();
  await inTransaction(pool.sql, async (tx) => {
    const kept: Sql[] = [];
    await inSavepoint(tx, async (savepoint) => void kept.push(savepoint));
    const undone = inSavepoint(tx, async (savepoint) => {
      kept.push(savepoint);
      throw new Error("mine");
    });
    assert.equal((await failureOf(undone)).message, "mine");
    for (const savepoint of kept) await assertOver(savepoint);
    await tx`insert into notes values (2, 'still open')`;
  });
  assert.deepEqual(await ground.notes(), [2]);
});

test("a transaction that nobody awaited a savepoint in is rolled back, and so is the rest of the savepoint", async () => {
  await using pool = ground.open({ max: 1 });
  const [entered, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let left: Promise<string | undefined> | undefined;
  const transaction = inTransaction(pool.sql, async (tx) => {
    left = codeOf(
      inSavepoint(tx, async (savepoint) => {
        await savepoint`insert into notes values (1, 'early')`;
        entered.resolve();
        await gate.promise;
        await savepoint`insert into notes values (2, 'late')`;
      }),
    );
    await entered.promise;
  });
  assert.equal(await codeOf(transaction), "UNSAFE_TRANSACTION");
  gate.resolve();
  assert.equal(await left, "TRANSACTION_OVER");
  assert.deepEqual(await ground.notes(), []);
});

test("a statement that is created in a transaction but sent after its end is refused", async () => {
  await using pool = ground.open();
  const gate = Promise.withResolvers<void>();
  const { lazy, timed } = await inTransaction(pool.sql, async (tx) => ({
    lazy: [tx`insert into notes values (1, 'late')`],
    timed: codeOf(gate.promise.then(() => tx`insert into notes values (1, 'late')`)),
  }));
  gate.resolve();
  assert.equal(await timed, "TRANSACTION_OVER");
  assert.equal(await codeOf(lazy[0] as PromiseLike<unknown>), "TRANSACTION_OVER");
  assert.deepEqual(await ground.notes(), []);
});

const floating: Record<string, (tx: Sql) => PromiseLike<unknown>> = {
  "a duplicate key": (tx) => tx`insert into notes values (1, 'twice')`,
  "a duplicate key, with parameters": (tx) => tx`insert into notes values (${1}, ${"twice"})`,
  "a division by zero after the first rows": (tx) => tx`select 1 / (500 - n) from generate_series(1, 1000) n`,
};
for (const [name, run] of Object.entries(floating)) {
  test(`a transaction that nobody awaited ${name} in is not reported as committed`, async () => {
    await using pool = ground.open();
    const unawaited = inTransaction(pool.sql, async (tx) => {
      await tx`insert into notes values (1, 'once')`;
      run(tx).then(undefined, () => {});
    });
    await failureOf(unawaited);
    assert.deepEqual(await ground.notes(), []);
    assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
  });
}

test("a failed statement that the callback ignores does not become a success", async () => {
  await using pool = ground.open();
  const ignoring = inTransaction(pool.sql, async (tx) => {
    await tx`insert into notes values (1, 'once')`;
    await failureOf(tx`insert into notes values (1, 'twice')`);
    return "done";
  });
  await failureOf(ignoring);
  assert.deepEqual(await ground.notes(), []);
  await inTransaction(pool.sql, async (tx) => {
    await tx`insert into notes values (1, 'once')`;
    await failureOf(inSavepoint(tx, async (savepoint) => savepoint`insert into notes values (1, 'twice')`));
  });
  assert.deepEqual(await ground.notes(), [1]);
});

test("a COMMIT whose answer is lost is reported as a lost connection", async () => {
  await using pool = ground.open();
  const transaction = inTransaction(pool.sql, async (tx) => {
    await tx`insert into notes values (1, 'perhaps')`;
    ground.proxy.muteAnswers(true);
  });
  const code = codeOf(transaction);
  await until(async () => (await ground.notes()).length > 0);
  ground.proxy.cut();
  ground.proxy.muteAnswers(false);
  assertCode(await code, cutCodes);
  assert.equal((await inTime(pool.sql`select 7 as n`))[0]?.["n"], 7);
});

test("a BEGIN sent as a statement leaves no transaction behind for the next caller", async () => {
  for (const text of [
    "begin",
    "select 1; begin; select 2",
    "start transaction; insert into notes values (9, 'lost')",
  ]) {
    await using pool = ground.open();
    await pool.sql.unsafe(text).then(undefined, () => {});
    await inTime(pool.sql`insert into notes values (1, 'committed')`);
    assert.deepEqual(await ground.notes(), [1], text);
    await ground.clear();
  }
});

test("a BEGIN that the server rejects is reported, and its session is usable", async () => {
  await using pool = ground.open();
  const pid = await backendOf(pool.sql);
  assert.equal(await codeOf(pool.sql.begin("isolation level nonsense", async () => "never")), "42601");
  assert.equal(await backendOf(pool.sql), pid);
});
