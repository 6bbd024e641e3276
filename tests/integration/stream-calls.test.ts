// Calls of SQL functions about streams, also as programs wrote them before the functions took more arguments.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type pg from "pg";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { expandPlaceholders, placeholdersFor } from "../../scripts/lib/schema/placeholders.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openPlainPool, plainAppend, plainEvent } from "../support/plain-client.ts";

let database: TestDatabase;
let pool: pg.Pool;
const id = randomUUID();
before(async () => {
  database = await withDatabase();
  pool = openPlainPool(database);
  await plainAppend(pool, id, 0, [plainEvent(), { ...plainEvent(), event_type: "OrderPaid" }, plainEvent()]);
});
after(async () => {
  await pool.end();
  await database[Symbol.asyncDispose]();
});

async function versions(call: string, values: readonly unknown[] = []): Promise<number[]> {
  const { rows } = await pool.query(`select aggregate_version from event_store.${call}`, [...values]);
  return rows.map((row) => row.aggregate_version);
}

/** Each argument list that was accepted before `event_types`, and what it reads. */
const earlierCalls: readonly (readonly [list: string, values: readonly unknown[], read: readonly number[]])[] = [
  [`('Order', '${id}')`, [], [1, 2, 3]],
  [`('Order', '${id}', 1)`, [], [2, 3]],
  [`('Order', '${id}', 1, 1)`, [], [2]],
  [`('Order', '${id}', null, null, true)`, [], [3, 2, 1]],
  [`('Order', '${id}', 0, 10, false, 2)`, [], [1, 2]],
  [`('Order', '${id}', '0', '10', 'false', null, null)`, [], [1, 2, 3]],
  [`('Order'::varchar, '${id}'::uuid, 0::int, 10::int, false, 2::int, now()::timestamptz)`, [], [1, 2]],
  ["($1, $2, $3, $4, $5, $6, $7)", ["Order", id, 0, 10, false, null, null], [1, 2, 3]],
  ["($1, $2, $3)", ["Order", id, "1"], [2, 3]],
  [`(aggregate_id => '${id}', aggregate_type => 'Order', max_count => 1)`, [], [1]],
  [`('Order', '${id}', backwards => true, after_version => 3, up_to_time => now())`, [], [2, 1]],
];

async function checkEarlierCalls(): Promise<void> {
  for (const [list, values, read] of earlierCalls) {
    assert.deepEqual(await versions(`read_stream${list}`, values), read, list);
  }
}

test("read_stream() still takes every earlier argument list, positional, named and untyped", checkEarlierCalls);

test("read_stream() takes event types as an array of any text type, and by position", async () => {
  for (const types of [
    "array['OrderPaid']",
    "'{OrderPaid,None}'",
    "array['OrderPaid']::varchar[]",
    "$1",
    "$1::text[]",
  ]) {
    const values = types.startsWith("$1") ? [["OrderPaid"]] : [];
    assert.deepEqual(await versions(`read_stream('Order', '${id}', event_types => ${types})`, values), [2], types);
    assert.deepEqual(await versions(`read_stream('Order', '${id}', 0, 1, false, null, null, ${types})`, values), [2]);
  }
  assert.deepEqual(await versions(`read_stream('Order', '${id}', event_types => null)`), [1, 2, 3]);
  assert.deepEqual(await versions(`read_stream('Order', '${id}', event_types => '{}')`), []);
  assert.deepEqual(await versions(`read_stream('Order', '${id}', event_types => '{null,OrderPlaced}')`), [1, 3]);
});

test("read_stream() returns the key of the aggregate", async () => {
  await inTransaction(database.admin, async (tx) => {
    const keys = () => tx`select distinct aggregate_key as key from event_store.read_stream('Order', ${id})`;
    assert.deepEqual([...(await keys())], [{ key: null }]);
    await tx`update event_store.event_stream set aggregate_key = 'order-17' where aggregate_id = ${id}`;
    assert.deepEqual([...(await keys())], [{ key: "order-17" }]);
    const [info] = await tx`select aggregate_key as key from event_store.stream_info('Order', ${id})`;
    assert.deepEqual({ ...info }, { key: "order-17" });
    await tx`update event_store.event_stream set aggregate_key = null where aggregate_id = ${id}`;
  });
});

test("stream_info() and reopen_stream() take their arguments in every form", async () => {
  const lists: readonly (readonly [string, readonly unknown[]])[] = [
    [`('Order', '${id}')`, []],
    [`(aggregate_id => '${id}', aggregate_type => 'Order')`, []],
    ["($1, $2)", ["Order", id]],
    ["($1::varchar, $2::uuid)", ["Order", id]],
  ];
  for (const [list, values] of lists) {
    await pool.query("select event_store.archive_stream('Order', $1)", [id]);
    const archived = await pool.query(`select * from event_store.stream_info${list}`, [...values]);
    assert.ok(archived.rows[0].archived_at instanceof Date, list);
    const reopened = await pool.query(`select event_store.reopen_stream${list} as version`, [...values]);
    assert.deepEqual(reopened.rows, [{ version: 3 }]);
    const { rows } = await pool.query(`select version, archived_at from event_store.stream_info${list}`, [...values]);
    assert.deepEqual(rows, [{ version: 3, archived_at: null }]);
  }
  const { rows } = await pool.query("select * from event_store.stream_info('Order', $1)", [randomUUID()]);
  assert.deepEqual(rows, []);
});

test("reopen_stream() refuses a missing stream with UE003 and the JSON detail", async () => {
  const missing = randomUUID();
  await assert.rejects(
    pool.query("select event_store.reopen_stream('Order', $1)", [missing]),
    (error: pg.DatabaseError) => {
      const detail = { expected: null, actual: 0, aggregate_type: "Order", aggregate_id: missing };
      assert.deepEqual([error.code, JSON.parse(error.detail ?? "")], ["UE003", detail]);
      assert.equal(error.message, `the stream of Order ${missing} does not exist`);
      return true;
    },
  );
});

test("a database with the earlier read_stream() gets the new one in its place, again and again", async () => {
  const path = "routines/queries/event_store.read_stream.sql";
  const file = { name: path, path: join(assetsDir, "sql", path) };
  const text = await readFile(file.path, "utf8");
  const { text: statement } = expandPlaceholders({ ...file, text } as never, placeholdersFor(database.name));
  await database.admin.unsafe(`
    drop function event_store.read_stream;
    create function event_store.read_stream(
      aggregate_type varchar, aggregate_id uuid, after_version integer default 0, max_count integer default 1000,
      backwards boolean default false, up_to_version integer default null, up_to_time timestamptz default null
    )
    returns table (global_position bigint)
    language sql stable
    begin atomic select 1::bigint; end`);
  for (let time = 0; time < 2; time++) {
    await database.admin.unsafe(statement);
    const found = await database.admin`
      select from pg_proc where proname = 'read_stream' and pronamespace = 'event_store'::regnamespace`;
    assert.equal(found.length, 1);
    await checkEarlierCalls();
  }
});
