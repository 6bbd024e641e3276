// A reader of the log without this project's code: plain node-postgres, and the SQL of sql/README.md.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openPlainPool, plainAppend, plainEvent } from "../support/plain-client.ts";
import { eventually } from "../support/projection.ts";
import { testRounds } from "../support/runtime.ts";

interface LogRow {
  readonly global_position: string;
  readonly aggregate_id: string;
  readonly aggregate_version: number;
  readonly event_id: string;
}

/** Reads the events after the follower's checkpoint, and stores them and the new checkpoint in one transaction. */
type Follow = (client: pg.PoolClient, name: string) => Promise<void>;

const pageSize = 50;
let database: TestDatabase;
let pool: pg.Pool;
before(async () => {
  database = await withDatabase();
  pool = openPlainPool(database, { max: 16 });
  await pool.query("create table read_model.plain_checkpoint (name text primary key, position bigint not null)");
  await pool.query(
    "create table read_model.plain_event (name text, place bigserial, event_id uuid, aggregate_id uuid, version int)",
  );
});
after(async () => {
  await pool.end();
  await database[Symbol.asyncDispose]();
});

async function inTransaction(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin isolation level read committed");
    await work(client);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  } finally {
    client.release();
  }
}

async function readCheckpoint(client: pg.PoolClient, name: string): Promise<bigint> {
  const sql = "select position from read_model.plain_checkpoint where name = $1 for update";
  return BigInt((await client.query(sql, [name])).rows[0].position);
}

async function store(client: pg.PoolClient, name: string, rows: readonly LogRow[], checkpoint: bigint): Promise<void> {
  for (const row of rows) {
    const values = [name, row.event_id, row.aggregate_id, row.aggregate_version];
    await client.query(
      "insert into read_model.plain_event (name, event_id, aggregate_id, version) values ($1, $2, $3, $4)",
      values,
    );
  }
  await client.query("update read_model.plain_checkpoint set position = $2 where name = $1", [name, checkpoint]);
}

/** As sql/README.md says: ask how far the log is complete, then read up to there in a second statement. */
const followCompletely: Follow = async (client, name) => {
  const checkpoint = await readCheckpoint(client, name);
  const end = BigInt((await client.query("select event_store.safe_position() as safe")).rows[0].safe);
  const { rows } = await client.query<LogRow>("select * from event_store.read_all($1, $2, up_to_position => $3)", [
    checkpoint,
    pageSize,
    end,
  ]);
  const reached = rows.length < pageSize ? end : BigInt(rows.at(-1)?.global_position ?? 0);
  await store(client, name, rows, reached > checkpoint ? reached : checkpoint);
};

/** The obvious but wrong way: read everything above the last position seen. */
const followNaively: Follow = async (client, name) => {
  const checkpoint = await readCheckpoint(client, name);
  const { rows } = await client.query<LogRow>(
    `select event.*, stream.aggregate_id from event_store.domain_event as event join event_store.event_stream as stream using (stream_id)
     where global_position > $1 order by global_position limit $2`,
    [checkpoint, pageSize],
  );
  await store(client, name, rows, BigInt(rows.at(-1)?.global_position ?? checkpoint));
};

/** Appends, sometimes in long transactions, some of which are rolled back. Adds the ids of the committed events. */
async function write(committed: string[], isDone: () => boolean): Promise<void> {
  while (!isDone()) {
    const events = [plainEvent(), plainEvent(), plainEvent()];
    const [id, other] = [randomUUID(), randomUUID()];
    const fate = Math.random();
    await inTransaction(async (client) => {
      await plainAppend(client, id, 0, events.slice(0, 1));
      await sleep(Math.random() * 20);
      await plainAppend(client, other, null, events.slice(1, 2));
      await client.query("savepoint inner_work");
      await plainAppend(client, id, 1, [plainEvent()]);
      await client.query("rollback to savepoint inner_work");
      await plainAppend(client, id, 1, events.slice(2));
      if (fate < 0.2) throw new Error("changed my mind");
    }).then(
      () => committed.push(...events.map(({ event_id }) => event_id as string)),
      (error: Error) => assert.equal(error.message, "changed my mind"),
    );
  }
}

/** @returns whether a follower has passed by an event that is stored */
async function hasLost(name: string): Promise<boolean> {
  const { rows } = await pool.query(
    `select from event_store.domain_event
     where global_position <= (select position from read_model.plain_checkpoint where name = $1)
       and event_id not in (select event_id from read_model.plain_event where name = $1) limit 1`,
    [name],
  );
  return rows.length > 0;
}

test("a follower with a checkpoint loses, repeats and reorders nothing while 8 writers append; a naive one loses", async () => {
  const followers = { complete: followCompletely, naive: followNaively };
  for (const name of Object.keys(followers)) {
    await pool.query("insert into read_model.plain_checkpoint values ($1, 0)", [name]);
  }
  let isDone = false;
  const follow = async (name: string, step: Follow) => {
    while (!isDone) await inTransaction((client) => step(client, name));
  };
  const following = Object.entries(followers).map(([name, step]) => follow(name, step));
  const committed: string[] = [];
  let isEnough = false;
  const writing = Array.from({ length: 8 }, () => write(committed, () => isEnough));
  await sleep(testRounds(3) * 1000);
  // A busy machine needs longer.
  await eventually(async () => committed.length > 100 && (await hasLost("naive")));
  isEnough = true;
  await Promise.all(writing);
  isDone = true;
  await Promise.all(following);
  for (const [name, step] of Object.entries(followers)) {
    for (let before = -1n, now = 0n; before !== now; ) {
      await inTransaction(async (client) => {
        before = await readCheckpoint(client, name);
        await step(client, name);
        now = await readCheckpoint(client, name);
      });
    }
  }
  const seen = async (name: string) =>
    (
      await pool.query(
        "select event_id, aggregate_id, version from read_model.plain_event where name = $1 order by place",
        [name],
      )
    ).rows;
  const complete = await seen("complete");
  assert.deepEqual(complete.map((row) => row.event_id).toSorted(), committed.toSorted(), "neither lost nor repeated");
  const versions = new Map<string, number>();
  for (const { aggregate_id: id, version } of complete) {
    assert.equal(version, (versions.get(id) ?? 0) + 1, "in the order of its stream");
    versions.set(id, version);
  }
  assert.ok(
    (await seen("naive")).length < committed.length,
    "the naive follower shows that there was something to lose",
  );
});

test("a follower that listens to event_store_appended is notified of another client's append", async () => {
  const listener = await pool.connect();
  const heard = new Promise<pg.Notification>((resolve) => listener.once("notification", resolve));
  await listener.query("listen event_store_appended");
  await plainAppend(pool, randomUUID(), 0);
  await pool.query("select pg_notify('event_store_appended', '')");
  assert.equal((await heard).channel, "event_store_appended");
  await listener.query("unlisten *");
  listener.release();
});

test("reading up to a position that is not known to be complete is refused with UE007", async () => {
  await assert.rejects(pool.query("select * from event_store.read_all(0, 10, up_to_position => 1000000)"), {
    code: "UE007",
  });
});
