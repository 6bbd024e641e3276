import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { startProgram } from "../support/run-script.ts";
import {
  assertCode,
  backendOf,
  codeOf,
  cutCodes,
  failureOf,
  type Ground,
  inTime,
  running,
  settle,
  terminate,
  until,
  useGround,
} from "../support/session.ts";

const ground = useGround();

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

for (const before of [99, 100, 101, 250]) {
  test(`a transaction works beside ${before} statements that were sent first`, async () => {
    await using pool = ground.open();
    await pool.sql`select 1`;
    const statements = numbers(before).map((n) => pool.sql`select 1 as n`.then(() => n));
    const transactions = numbers(3).map((id) =>
      inTransaction(pool.sql, async (tx) => {
        await tx`insert into notes values (${id}, 'a')`;
        return id;
      }),
    );
    const later = numbers(before).map((n) => pool.sql`select 2 as n`.then(() => n));
    assert.deepEqual(await inTime(Promise.all(statements)), numbers(before));
    assert.deepEqual(await inTime(Promise.all(transactions)), [0, 1, 2]);
    assert.deepEqual(await inTime(Promise.all(later)), numbers(before));
    assert.deepEqual(await ground.notes(), [0, 1, 2]);
  });
}

test("200 statements and 200 transactions at once share three sessions, and each gets its own result", async () => {
  await using pool = ground.open({ max: 3, applicationName: "three" });
  const statements = numbers(200).map(async (n) => (await pool.sql`select ${n}::integer as n`)[0]?.["n"]);
  assert.deepEqual(await inTime(Promise.all(statements)), numbers(200));
  const transactions = numbers(200).map((id) =>
    inTransaction(pool.sql, async (tx) => {
      await tx`insert into notes values (${id}, 'a')`;
      return (await tx`select ${id}::integer as n, pg_backend_pid() as pid`)[0]?.["n"];
    }),
  );
  assert.deepEqual(await inTime(Promise.all(transactions)), numbers(200));
  assert.deepEqual(await ground.notes(), numbers(200));
  const sessions = await ground.admin`select from pg_stat_activity where application_name = 'three'`;
  assert.ok(sessions.length <= 3, `${sessions.length} sessions`);
});

/** What a pool of one may be doing when its connection is cut. */
const uses: Record<string, (pool: ReturnType<Ground["open"]>, cut: () => void) => Promise<unknown>> = {
  idle: async ({ sql }, cut) => {
    await sql`select 1`;
    cut();
    await sql`select 1`.then(undefined, () => {});
  },
  "in a statement": async ({ sql }, cut) => {
    const lost = failureOf(sql`select repeat('x', 1000) from generate_series(1, 20000)`);
    setImmediate(cut);
    await lost.catch(() => {});
  },
  "in a transaction": ({ sql }, cut) =>
    failureOf(
      inTransaction(sql, async (tx) => {
        await tx`select 1`;
        cut();
        await tx`select 1`;
      }),
    ),
  "at the end of a transaction": ({ sql }, cut) =>
    inTransaction(sql, async (tx) => {
      await tx`select 1`;
      cut();
    }).catch(() => {}),
};
for (const [name, use] of Object.entries(uses)) {
  test(`a pool that is cut ${name} answers the next statement within a second, each time`, async () => {
    await using pool = ground.open();
    const durationsMs: number[] = [];
    for (let round = 0; round < 20; round++) {
      await inTime(use(pool, ground.proxy.cut));
      const startedAt = performance.now();
      assert.deepEqual([...(await inTime(pool.sql`select ${round}::integer as n`))], [{ n: round }]);
      durationsMs.push(performance.now() - startedAt);
    }
    // The machine may be slow now and then; a pause before each new session would be in every round.
    const median = durationsMs.toSorted((one, other) => one - other)[10] ?? 0;
    assert.ok(median < 1000, `${median} ms`);
  });
}

test("a statement that is cancelled before it is sent takes no session", async () => {
  await using pool = ground.open();
  const { sql } = pool;
  await sql`select 1`;
  for (const statement of [sql`select 2`, sql.file("package.json")]) {
    statement.execute();
    statement.cancel();
    assert.equal(await codeOf(statement), "57014");
    assert.deepEqual([...(await inTime(sql`select 3 as n`))], [{ n: 3 }]);
  }
});

test("an idle session that was ended is replaced without a failed statement", async () => {
  let lost = 0;
  await using pool = ground.open({ onSessionLost: () => void lost++ });
  for (let round = 1; round <= 5; round++) {
    const pid = await backendOf(pool.sql);
    await terminate(ground.admin, pid);
    await until(() => lost === round);
    assert.notEqual(await inTime(backendOf(pool.sql)), pid);
  }
});

test("the idle timeout replaces sessions without a failed statement, whenever the statement is sent", async () => {
  await using pool = ground.open({ idleTimeoutSeconds: 0.03, applicationName: "short" });
  const pids = new Set<number>();
  for (let pause = 20; pause < 75; pause += 3) {
    await sleep(pause);
    pids.add(await inTime(backendOf(pool.sql)));
  }
  await inTransaction(pool.sql, async (tx) => {
    const pid = await backendOf(tx);
    await sleep(100);
    assert.equal(await backendOf(tx), pid);
  });
  assert.ok(pids.size > 1);
  const remaining = () => ground.admin`select from pg_stat_activity where application_name = 'short'`;
  await until(async () => (await remaining()).length === 0);
});

test("a pool reports each lost session once, and each session that replaces it", async () => {
  let opened = 0;
  const lost: string[] = [];
  const options = {
    max: 1,
    onSessionOpen: () => void opened++,
    onSessionLost: (reason: Error & { code?: string }) => void lost.push(reason.code ?? reason.message),
  };
  const pool = ground.open(options);
  const pid = await backendOf(pool.sql);
  assert.deepEqual([opened, lost], [1, []]);
  await terminate(ground.admin, pid);
  await until(() => lost.length > 0);
  const sleeping = codeOf(pool.sql`select pg_sleep(100)`);
  const second = await running(ground.admin, "pg_sleep");
  ground.proxy.cut();
  assertCode(await sleeping, cutCodes);
  await terminate(ground.admin, second);
  await pool.sql`select 1`;
  assert.deepEqual([opened, lost.length, lost[0]], [3, 2, "57P01"]);
  assertCode(lost[1], cutCodes);
  ground.proxy.refuse(true);
  ground.proxy.cut();
  await until(() => lost.length === 3);
  await failureOf(pool.sql`select 1`);
  ground.proxy.refuse(false);
  await pool[Symbol.asyncDispose]();
  await settle();
  assert.deepEqual([opened, lost.length], [3, 3]);
});

test("a program that leaves its pool open ends", async () => {
  for (const work of ["statement", "transaction", "reservation", "lost session"]) {
    const program = startProgram("tests/support/fixtures/leaves-pool-open.ts", [JSON.stringify(ground.target), work]);
    const timer = setTimeout(() => program.kill("SIGKILL"), 30_000);
    const { exitCode, stdout, stderr } = await program.ended;
    clearTimeout(timer);
    assert.deepEqual([exitCode, stdout, stderr], [0, "done\n", ""], work);
  }
});
