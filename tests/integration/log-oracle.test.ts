import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import process from "node:process";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { findPostmaster } from "../../scripts/lib/postgres/server/postmaster.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { isAlive } from "../../scripts/lib/process.ts";
import { pollUntil } from "../../scripts/lib/retry.ts";
import { append, placed } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import {
  completeReader,
  conditionReader,
  followLog,
  type LogReader,
  plainReader,
  transactionReader,
} from "../support/log-oracle.ts";
import { eventTypes } from "../support/log-writers.ts";
import { testRounds } from "../support/runtime.ts";
import { bootstrapTestStack, withCluster } from "../support/stack.ts";

/** 2,500 in a normal run, 50,000 in a soak. */
const eventCount = 2_500 * testRounds(1);

/** 1,000 in a normal run, 20,000 in a soak: one lock for each would exhaust the server's lock table. */
const appendCount = 1_000 * testRounds(1);

test("readers that use read_all() lose, repeat and reorder nothing; a naive one loses events", async () => {
  await using database = await withDatabase();
  const verdicts = await followLog(
    {
      complete: completeReader(),
      filtered: completeReader(eventTypes),
      plain: plainReader(),
      naive: conditionReader("true"),
    },
    { target: database.application, writers: 16, events: eventCount },
  );
  assert.ok(verdicts.complete.stored >= eventCount);
  for (const reader of ["complete", "filtered", "plain"] as const) {
    const { missed, duplicates, outOfStreamOrder } = verdicts[reader];
    assert.deepEqual([missed, duplicates, outOfStreamOrder], [0, 0, 0], reader);
  }
  assert.ok(verdicts.naive.missed > 0, "the naive reader must miss events, or this test shows nothing");
});

test("a reader by position alone loses an event that was drawn earlier and committed later", async () => {
  await using database = await withDatabase();
  await using writer = openConnection(database.application);
  const [naive, plain] = [conditionReader("true"), plainReader()];
  const read = async (reader: LogReader) => Array.from(await reader.read(database.sql), ({ position }) => position);
  await withOpenAppend(writer.sql, async () => {
    await append(database.sql, {});
    assert.deepEqual([await read(naive), await read(plain)], [[2n], []]);
  });
  assert.deepEqual([await read(naive), await read(plain)], [[], [1n, 2n]]);
});

test("a reader in the order of transactions reorders a stream, and stalls on an idle transaction", async () => {
  await using database = await withDatabase();
  await using earlier = openConnection(database.application);
  const reader = transactionReader();
  const id = randomUUID();
  await inTransaction(earlier.sql, async (tx) => {
    await tx`select pg_current_xact_id()`;
    await append(database.sql, { id });
    assert.equal((await reader.read(database.sql)).length, 0);
    assert.deepEqual(await readPositions(database), [1n]);
    await append(tx, { id });
  });
  const versions: number[] = [];
  // Other transactions in the cluster, such as the server's own analyze, stall it too.
  while (versions.length < 2) versions.push(...(await reader.read(database.sql)).map((seen) => seen.version));
  assert.deepEqual(versions, [2, 1]);
  assert.deepEqual(await readPositions(database), [1n, 2n]);
});

test("safe_position() in the statement that reads loses an event", async () => {
  await using database = await withDatabase();
  await using writer = openConnection(database.application);
  await using gate = openConnection(database.application);
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  // A lock of the writer itself could be free before its floor is.
  await gate.sql`select pg_advisory_lock(7)`;
  const writing = inTransaction(writer.sql, async (tx) => {
    await append(tx, {});
    begun.resolve();
    await finish.promise;
  });
  await begun.promise;
  // The statement takes its snapshot, waits until the writer has committed, and only then asks.
  const reading = database.sql`
    with pause as materialized (select pg_advisory_xact_lock(7)),
    horizon as materialized (select event_store.safe_position() as position from pause)
    select global_position, horizon.position from horizon
    left join event_store.domain_event on global_position <= horizon.position`;
  const rows = reading.execute();
  const waiting = async () => {
    const [lock] = await database.admin`
      select from pg_locks join pg_database on pg_database.oid = database
      where datname = current_database() and locktype = 'advisory' and objid = 7 and not granted`;
    return lock;
  };
  assert.ok(await pollUntil(waiting, { timeoutMs: 60_000, intervalMs: 10 }));
  finish.resolve();
  await writing;
  await gate.sql`select pg_advisory_unlock(7)`;
  assert.deepEqual(
    (await rows).map((row) => [row["global_position"], row["position"]]),
    [[null, 1n]],
  );
  assert.deepEqual(await readPositions(database), [1n]);
});

async function readPositions({ sql }: Pick<TestDatabase, "sql">, after = 0n): Promise<bigint[]> {
  const rows = await sql<{ position: bigint }[]>`
    select global_position as position from event_store.read_all(${after}, null)`;
  return rows.map(({ position }) => position);
}

/** Keeps a transaction open that has appended one event. */
async function withOpenAppend(sql: Sql, work: () => Promise<void>): Promise<void> {
  const begun = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  const open = inTransaction(sql, async (tx) => {
    await append(tx, {});
    begun.resolve();
    await finish.promise;
  });
  await begun.promise;
  try {
    await work();
  } finally {
    finish.resolve();
    await open;
  }
}

test("the first event of a new database is read after it is committed, and not before", async () => {
  await using database = await withDatabase();
  await using writer = openConnection(database.application);
  await withOpenAppend(writer.sql, async () => {
    await append(database.sql, {});
    assert.deepEqual(await readPositions(database), []);
    const [row] = await database.sql`select event_store.safe_position() as position`;
    assert.equal(row?.["position"], 0n);
  });
  assert.deepEqual(await readPositions(database), [1n, 2n]);
});

test("a transaction in another database, or without an append, does not hold readers back", async () => {
  await using other = await withDatabase();
  await using database = await withDatabase();
  await using idle = openConnection(database.application);
  await using writer = openConnection(other.application);
  await withOpenAppend(writer.sql, async () => {
    await inTransaction(idle.sql, async (tx) => {
      await tx`create temporary table held as select pg_current_xact_id()`;
      await append(database.sql, {});
      assert.deepEqual(await readPositions(database), [1n]);
    });
  });
});

test("thousands of appends in one transaction take one lock, and leave the lock table to others", async () => {
  await using database = await withDatabase();
  await using writer = openConnection(database.application);
  await inTransaction(writer.sql, async (tx) => {
    await tx.unsafe(`do $$ begin for n in 1 .. ${appendCount} loop
      perform event_store.append_events('Order', gen_random_uuid(), 0, array['{"event_type":"A","event_data":{}}']::jsonb[]);
    end loop; end $$`);
    const [locks] = await database.admin`
      select count(*)::int as count from pg_locks
      where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`;
    assert.equal(locks?.["count"], 1);
    await append(database.sql, {});
    assert.deepEqual(await readPositions(database), []);
  });
  assert.equal((await readPositions(database)).length, appendCount + 1);
});

test("rolling back a savepoint withdraws the floor that it published, and the next append publishes another", async () => {
  await using database = await withDatabase();
  await using writer = openConnection(database.application);
  await inTransaction(writer.sql, async (tx) => {
    await tx`savepoint attempt`;
    await append(tx, {});
    await tx`rollback to savepoint attempt`;
    await append(database.sql, {});
    assert.deepEqual(await readPositions(database), [2n]);
    await append(tx, {});
    await append(database.sql, {});
    assert.deepEqual(await readPositions(database), [2n]);
  });
  assert.deepEqual(await readPositions(database), [2n, 3n, 4n]);
});

test("an application's own advisory locks, of both forms, do not hold readers back", async () => {
  await using database = await withDatabase();
  await using locker = openConnection(database.application);
  await locker.sql`
    select pg_advisory_lock(42), pg_advisory_lock_shared(0), pg_advisory_lock_shared(1::bigint << 40),
      pg_advisory_lock(7, 42), pg_advisory_lock_shared(229 << 16, 1)`;
  for (let count = 0; count < 3; count++) await append(database.sql, {});
  assert.deepEqual(await readPositions(database), [1n, 2n, 3n]);
});

test("every kind of insert publishes its floor, including an owner's COPY and MERGE", async () => {
  await using database = await withDatabase();
  const id = randomUUID();
  const stream = await append(database.sql, { id });
  const columns = "(stream_id, aggregate_version, event_type, event_data)";
  const inserts = [
    `insert into event_store.domain_event ${columns} values ('${stream}', 2, 'A', '{}')`,
    `with made as (insert into event_store.domain_event ${columns} select '${stream}', 3, 'A', '{}' returning 1) select * from made`,
    `merge into event_store.domain_event using (select 4 as version) as given on false
     when not matched then insert ${columns} values ('${stream}', given.version, 'A', '{}')`,
    `copy event_store.domain_event ${columns} from program 'echo "${stream},5,A,{}"' with (format csv)`,
  ];
  for (const insert of inserts) {
    await using writer = openConnection(database.administrator);
    const before = (await readPositions(database)).length;
    await inTransaction(writer.sql, async (tx) => {
      await tx.unsafe(insert);
      await append(database.sql, {});
      assert.equal((await readPositions(database)).length, before, insert);
    });
    assert.equal((await readPositions(database)).length, before + 2, insert);
  }
});

test("safe_position() and read_all() refuse isolation levels with an older snapshot, and an altered sequence", async () => {
  await using database = await withDatabase();
  for (const level of ["repeatable read", "serializable"]) {
    for (const call of ["safe_position()", "read_all(0)"]) {
      const work = database.sql.begin(`isolation level ${level}`, (tx) => tx.unsafe(`select event_store.${call}`));
      await assert.rejects(work, (error: { code: string; message: string; hint: string }) => {
        assert.equal(error.code, "25001");
        assert.equal(error.message, `the log cannot be read in a ${level} transaction`);
        assert.match(error.hint, /READ COMMITTED/);
        return true;
      });
    }
  }
  await database.admin`alter sequence event_store.domain_event_global_position cache 20`;
  await assert.rejects(readPositions(database), (error: { code: string; hint: string }) => {
    assert.equal(error.code, "55000");
    assert.match(error.hint, /cache 1/);
    return true;
  });
});

test("a higher answer of safe_position() remains true if a writer publishes late", async () => {
  await using database = await withDatabase();
  await append(database.sql, { events: [placed, placed] });
  await using reader = openConnection(database.application);
  await assert.rejects(reader.sql`select from event_store.read_all(0, 10, null, null, 3)`, { code: "UE007" });
  const [row] = await reader.sql`select event_store.safe_position() as position`;
  assert.equal(row?.["position"], 2n);
  await using writer = openConnection(database.application);
  await inTransaction(writer.sql, async (tx) => {
    // Like a writer that read its floor before those events were drawn, and takes its lock only now.
    await tx`select pg_advisory_xact_lock_shared((229::bigint << 48) | 0)`;
    assert.deepEqual(await readPositions(database), []);
    const rows = await reader.sql`select from event_store.read_all(0, 10, null, null, 2)`;
    assert.equal(rows.length, 2);
  });
});

test("the events of a database that was copied into another cluster can be read there, and so can the next one", async () => {
  await using database = await withDatabase();
  await using other = await withCluster();
  const target = await other.administrator();
  await append(database.sql, { events: [placed, placed, placed] });
  await using copy = openConnection(target);
  const streams = await database.admin`select row_to_json(event_stream)::text as row from event_store.event_stream`;
  const events = await database.admin`select row_to_json(domain_event)::text as row from event_store.domain_event`;
  for (const { row } of streams) {
    await copy.sql`insert into event_store.event_stream
      select * from json_populate_record(null::event_store.event_stream, ${row}::text::json)`;
  }
  for (const { row } of events) {
    await copy.sql`insert into event_store.domain_event
      select * from json_populate_record(null::event_store.domain_event, ${row}::text::json)`;
  }
  await copy.sql`select setval('event_store.domain_event_global_position', 3)`;
  await using application = openConnection(await other.application());
  assert.deepEqual(await readPositions(application), [1n, 2n, 3n]);
  await append(application.sql, {});
  assert.deepEqual(await readPositions(application), [1n, 2n, 3n, 4n]);
});

test("a prepared transaction holds readers back until it is committed, even across a crash of the server", async () => {
  await using stack = await withCluster();
  await using before = openConnection(await stack.administrator());
  await before.sql`alter system set max_prepared_transactions = 5`;
  await killServer(stack.dataDir);
  await bootstrapTestStack(stack.stackDir);
  await using writer = openConnection(await stack.administrator());
  const session = await writer.sql.reserve();
  await session`begin`.simple();
  await append(session, {});
  await session`prepare transaction 'left behind'`.simple();
  session.release();
  await append(writer.sql, {});
  await killServer(stack.dataDir);
  await bootstrapTestStack(stack.stackDir);

  await using application = openConnection(await stack.application());
  await append(application.sql, {});
  assert.deepEqual(await readPositions(application), []);
  const holders = await application.sql`select held_position, pid, gid, state from event_store.horizon_holder()`;
  assert.deepEqual(
    holders.map((row) => ({ ...row })),
    [{ held_position: 0n, pid: null, gid: "left behind", state: "prepared" }],
  );
  await using administrator = openConnection(await stack.administrator());
  await administrator.sql`commit prepared 'left behind'`.simple();
  const positions = await readPositions(application);
  assert.deepEqual([positions.length, positions[0]], [3, 1n]);
});

async function killServer(dataDir: string): Promise<void> {
  const postmaster = await findPostmaster(dataDir);
  assert.equal(postmaster.state, "running");
  process.kill(postmaster.pid, "SIGKILL");
  while (isAlive(postmaster.pid)) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("horizon_holder() names the session that holds readers back", async () => {
  await using database = await withDatabase();
  await using writer = openConnection(database.application, { applicationName: "forgetful job" });
  await withOpenAppend(writer.sql, async () => {
    const [holder, ...others] = await database.sql`
      select held_position, login, application_name, state, since < clock_timestamp() as "isSince"
      from event_store.horizon_holder()`;
    assert.deepEqual(
      { ...holder },
      {
        held_position: 0n,
        login: database.application.user,
        application_name: "forgetful job",
        state: "idle in transaction",
        isSince: true,
      },
    );
    assert.deepEqual(others, []);
  });
});
