// A client without this project's code: plain node-postgres, and the SQL of sql/README.md.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import pg from "pg";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import {
  appendStatement,
  openPlainPool,
  type PlainEvent,
  plainAppend,
  plainEvent,
  problemOf,
} from "../support/plain-client.ts";

let database: TestDatabase;
let pool: pg.Pool;
before(async () => {
  database = await withDatabase();
  pool = openPlainPool(database);
});
after(async () => {
  await pool.end();
  await database[Symbol.asyncDispose]();
});

async function versionsOf(id: string): Promise<number[]> {
  const { rows } = await pool.query("select aggregate_version from event_store.read_stream('Order', $1)", [id]);
  return rows.map((row) => row.aggregate_version);
}

/** Borrows a connection from the pool, as a framework does for one transaction. */
async function withClient<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  try {
    return await work(client);
  } finally {
    await client.query("rollback");
    client.release();
  }
}

test("each expected version accepts what it means, and refuses the rest with its own code and detail", async () => {
  const id = randomUUID();
  const detail = (expected: number, actual: number) => ({
    expected,
    actual,
    aggregate_type: "Order",
    aggregate_id: id,
  });
  assert.deepEqual(await problemOf(plainAppend(pool, id, -4)), { code: "UE003", detail: detail(-4, 0) });
  assert.deepEqual(await problemOf(plainAppend(pool, id, 7)), { code: "UE001", detail: detail(7, 0) });
  const first = await plainAppend(pool, id, 0, [plainEvent(), plainEvent()]);
  assert.deepEqual([first.first_version, first.last_version, first.deduplicated], [1, 2, false]);
  for (const none of [0, -1]) {
    assert.deepEqual(await problemOf(plainAppend(pool, id, none)), { code: "UE002", detail: detail(none, 2) });
  }
  assert.equal((await plainAppend(pool, id, 2)).last_version, 3);
  assert.deepEqual(await problemOf(plainAppend(pool, id, 2)), { code: "UE001", detail: detail(2, 3) });
  assert.equal((await plainAppend(pool, id, -4)).last_version, 4);
  assert.equal((await plainAppend(pool, id, null)).last_version, 5);
  assert.equal((await plainAppend(pool, id, -2)).last_version, 6);
  assert.equal((await plainAppend(pool, randomUUID(), -1)).last_version, 1);
  const byTheSeed = "select event_store.append_events('Order', $1, 6, array[$2]::jsonb[]) as stream_id";
  const { rows } = await pool.query(byTheSeed, [id, JSON.stringify(plainEvent())]);
  assert.equal(rows[0]?.stream_id, first.stream_id);
  assert.deepEqual(await versionsOf(id), [1, 2, 3, 4, 5, 6, 7]);
});

test("8 clients that retry on a conflict all store their events", async () => {
  const id = randomUUID();
  await plainAppend(pool, id, 0);
  let conflicts = 0;
  const appendWithRetry = async () => {
    // All begin with the same version, so that all but one must retry.
    for (let expected = 1; ; expected = Math.max(...(await versionsOf(id)))) {
      try {
        return await plainAppend(pool, id, expected);
      } catch (error) {
        if (!(error instanceof pg.DatabaseError) || error.code !== "UE001") throw error;
        assert.ok(JSON.parse(error.detail ?? "").actual > expected);
        conflicts++;
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, appendWithRetry));
  assert.equal((await versionsOf(id)).length, 9);
  assert.ok(conflicts >= 7, `${conflicts} retries`);
});

test("an append that is retried after a lost connection is stored once", async () => {
  const id = randomUUID();
  const events = [plainEvent(1), plainEvent(2)];
  const client = await pool.connect();
  client.on("error", () => {});
  const answered = await plainAppend(client, id, 0, events);
  await database.admin`select pg_terminate_backend(${(client as unknown as { processID: number }).processID})`;
  await assert.rejects(client.query("select 1"));
  client.release(true);
  const retried = await plainAppend(pool, id, 0, events);
  assert.deepEqual(retried, { ...answered, deduplicated: true });
  assert.deepEqual(await versionsOf(id), [1, 2]);
});

test("append_batch returns one row per append with its own outcome", async () => {
  const [fresh, taken] = [randomUUID(), randomUUID()];
  await plainAppend(pool, taken, 0);
  const append = (id: string, expected_version: number, events: object[] = [plainEvent()]) => ({
    aggregate_type: "Order",
    aggregate_id: id,
    expected_version,
    events,
  });
  const appends = [
    append(fresh, 0),
    append(taken, 0),
    append(fresh, 1),
    append(taken, -4, [{}]),
    append("x", 0),
    append(taken, 1),
  ];
  const { rows } = await pool.query("select * from event_store.append_batch($1::jsonb)", [JSON.stringify(appends)]);
  assert.deepEqual(
    rows.map((row) => [row.sqlstate, row.last_version]),
    [
      [null, 1],
      ["UE002", null],
      [null, 2],
      ["UE007", null],
      ["UE007", null],
      [null, 2],
    ],
  );
  assert.equal(JSON.parse(rows[1]?.detail).actual, 1);
  assert.match(rows[3]?.message, /event_type/);
  assert.deepEqual(
    [await versionsOf(fresh), await versionsOf(taken)],
    [
      [1, 2],
      [1, 2],
    ],
  );
});

test("read_stream reads forwards, backwards, from a version and up to one", async () => {
  const id = randomUUID();
  await plainAppend(pool, id, 0, [1, 2, 3, 4, 5].map(plainEvent));
  const read = async (parameters: string) => {
    const { rows } = await pool.query(`select * from event_store.read_stream('Order', $1, ${parameters})`, [id]);
    return rows.map((row) => row.aggregate_version);
  };
  assert.deepEqual(await read("2"), [3, 4, 5]);
  assert.deepEqual(await read("0, 2"), [1, 2]);
  assert.deepEqual(await read("null, 2, true"), [5, 4]);
  assert.deepEqual(await read("4, 1000, true"), [3, 2, 1]);
  assert.deepEqual(await read("up_to_version => 2"), [1, 2]);
  assert.deepEqual(await read("up_to_time => '2001-01-01'"), []);
  const { rows } = await pool.query("select * from event_store.read_stream('Order', $1, 4)", [id]);
  assert.deepEqual([rows[0]?.event_type, rows[0]?.event_data], ["OrderPlaced", { total: 5 }]);
  assert.ok(rows[0]?.occurred_at instanceof Date);
});

test("UE004 to UE007, and the refusals of the server itself, each have their code", async () => {
  const id = randomUUID();
  const event = plainEvent();
  await plainAppend(pool, id, 0, [event]);
  const detail = { expected: null, actual: 1, aggregate_type: "Order", aggregate_id: id };
  const partial = await problemOf(plainAppend(pool, id, null, [event, plainEvent()]));
  assert.deepEqual(partial, { code: "UE004", detail });
  await pool.query("select event_store.archive_stream('Order', $1, 1)", [id]);
  assert.deepEqual(await problemOf(plainAppend(pool, id, null)), { code: "UE005", detail });
  assert.equal((await plainAppend(pool, id, null, [event])).deduplicated, true);
  const bad: PlainEvent = { event_type: "", event_data: {} };
  const { code, detail: badDetail } = await problemOf(plainAppend(pool, id, 1, [bad]));
  assert.deepEqual([code, badDetail?.["aggregate_id"]], ["UE007", id]);
  assert.equal((await problemOf(pool.query(appendStatement, ["Order", id, 1, "not json"]))).code, "22P02");
  const update = "update event_store.domain_event set event_data = '{}'";
  assert.equal((await problemOf(pool.query(update))).code, "42501");
  const { password } = database.administrator;
  const owner = openPlainPool(database, {
    user: database.administrator.user,
    ...(password === undefined ? {} : { password }),
  });
  assert.equal((await problemOf(owner.query(update))).code, "UE006");
  await owner.end();
  assert.deepEqual(await versionsOf(id), [1]);
});

test("with autocommit off, appends and reads share the application's transaction, and are rolled back with it", async () => {
  const [kept, undone] = [randomUUID(), randomUUID()];
  await withClient(async (client) => {
    await client.query("begin isolation level read committed");
    await client.query("create table if not exists command_model.plain_order (id uuid primary key)");
    await client.query("insert into command_model.plain_order values ($1)", [kept]);
    await plainAppend(client, kept, 0);
    assert.equal((await plainAppend(client, kept, 1)).last_version, 2);
    await client.query("savepoint before_append");
    assert.equal((await problemOf(plainAppend(client, kept, 1))).code, "UE001");
    await client.query("rollback to savepoint before_append");
    await client.query("commit");
    await client.query("begin");
    await plainAppend(client, undone, 0);
    assert.equal((await problemOf(plainAppend(client, undone, 0))).code, "UE002");
    assert.equal((await problemOf(client.query("select 1"))).code, "25P02");
    await client.query("commit");
  });
  assert.deepEqual([await versionsOf(kept), await versionsOf(undone)], [[1, 2], []]);
  assert.equal((await pool.query("select from command_model.plain_order where id = $1", [kept])).rowCount, 1);
});

test("a REPEATABLE READ client may not read the log, and gets 40001 if it loses a race", async () => {
  const id = randomUUID();
  await plainAppend(pool, id, 0);
  for (const isolation of ["repeatable read", "serializable"]) {
    for (const statement of ["select * from event_store.read_all(0)", "select event_store.safe_position()"]) {
      await withClient(async (client) => {
        await client.query(`begin isolation level ${isolation}`);
        await assert.rejects(client.query(statement), (error: pg.DatabaseError) => {
          assert.deepEqual(
            [error.code, error.message],
            ["25001", `the log cannot be read in a ${isolation} transaction`],
          );
          return /READ COMMITTED/.test(error.hint ?? "");
        });
      });
    }
    await withClient(async (client) => {
      await client.query(`begin isolation level ${isolation}`);
      await client.query("select 1 from event_store.event_stream limit 1");
      await plainAppend(pool, id, null);
      assert.equal((await problemOf(plainAppend(client, id, null))).code, "40001");
    });
  }
  assert.deepEqual(await versionsOf(id), [1, 2, 3]);
});

test("it works with named prepared statements, and without any, as behind a pooler", async () => {
  const id = randomUUID();
  await withClient(async (client) => {
    for (let version = 0; version < 12; version++) {
      const values = ["Order", id, version, JSON.stringify([plainEvent()])];
      const { rows } = await client.query({ name: "append", text: appendStatement, values });
      assert.equal(rows[0]?.last_version, version + 1);
    }
    const [order, events] = [id, JSON.stringify([plainEvent()])].map((text) => client.escapeLiteral(text));
    const simple = `select * from event_store.append(event_store.stream_id_of('Order', ${order}), 'Order', ${order}, 12, ${events})`;
    assert.equal((await client.query(simple)).rows[0]?.last_version, 13);
    assert.equal((await problemOf(client.query(simple.replace(events as string, "'[{}]'")))).code, "UE007");
    const { rows } = await client.query(`select * from event_store.read_stream('Order', ${order})`);
    assert.equal(rows.length, 13);
  });
});
