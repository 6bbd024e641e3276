// What safe_position() reads at an end of the log that nobody can see: entries, not milliseconds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { append } from "../support/append.ts";
import { withDatabase, withTransaction } from "../support/database.ts";
import { simplifyHorizon } from "../support/simpler-horizon.ts";

const eventCount = 100_000;

/** What one call reads. */
interface Cost {
  readonly entries: number;
  /** Blocks of tables and indexes. */
  readonly blocks: number;
}

const nothing: Cost = { entries: 0, blocks: 0 };

test("safe_position() reads the entries of 100,000 events that were rolled back once per session", async () => {
  await using database = await withDatabase();
  await append(database.sql, {});
  await using reader = openConnection(database.application);
  await measure(reader.sql, 1);
  await withTransaction(database.admin, insertEvents);
  assert.deepEqual((await measure(reader.sql, 1))[0]?.entries, eventCount);
  await using other = openConnection(database.application);
  assert.ok(((await measure(other.sql, 1))[0]?.entries ?? Number.NaN) <= eventCount + 1);
  for (const { sql } of [reader, other]) assert.deepEqual(await measure(sql, 2), [nothing, nothing]);
});

test("safe_position() reads no entry of 100,000 uncommitted events; a bare max() reads all with each call", async () => {
  await using database = await withDatabase();
  await append(database.sql, {});
  await using reader = openConnection(database.application);
  await measure(reader.sql, 1);
  await withTransaction(database.admin, async (tx) => {
    await insertEvents(tx);
    assert.deepEqual(await measure(reader.sql, 2), [nothing, nothing]);
    await using other = openConnection(database.application);
    const [first, second] = await measure(other.sql, 2);
    assert.deepEqual([first?.entries, second], [1, nothing]);
    assert.ok((first?.blocks ?? Number.NaN) <= 20, `${first?.blocks} blocks`);

    await simplifyHorizon(database.admin, "least");
    for (const { entries, blocks } of await measure(reader.sql, 3)) {
      assert.ok(entries > eventCount && blocks > 1_000, `${entries} entries, ${blocks} blocks`);
    }
  });
});

test("safe_position() does not read the whole log with a plan made while it was short", async () => {
  await using database = await withDatabase();
  await append(database.sql, {});
  await database.admin`alter table event_store.domain_event set (autovacuum_enabled = off)`;
  await database.admin`analyze event_store.domain_event`;
  await using reader = openConnection(database.application);
  for (let time = 0; time < 7; time++) {
    await append(database.sql, {});
    await measure(reader.sql, 1);
  }
  await insertEvents(database.admin);
  const [first] = await measure(reader.sql, 1);
  assert.ok((first?.blocks ?? Number.NaN) <= 20, `${first?.blocks} blocks`);
});

async function insertEvents(tx: Sql): Promise<void> {
  await tx`
    insert into event_store.domain_event (stream_id, aggregate_version, event_type, event_data)
    select gen_random_uuid(), 1, 'A', '{}' from generate_series(1, ${eventCount}::int)`;
}

/** Calls safe_position() in a transaction of its own, several times. */
async function measure(sql: Sql, calls: number): Promise<Cost[]> {
  const costs: Cost[] = [];
  for (let call = 0; call < calls; call++) {
    const cost = await inTransaction(sql, async (tx) => {
      const start = await readCounters(tx);
      await tx`select event_store.safe_position()`;
      const end = await readCounters(tx);
      return { entries: end.entries - start.entries, blocks: end.blocks - start.blocks };
    });
    costs.push(cost);
  }
  return costs;
}

/** The counters of this session. They are flushed between transactions, so compare them only within one. */
async function readCounters(tx: Sql): Promise<Cost> {
  const [counters] = await tx<[Cost]>`
    select
      coalesce(sum(pg_stat_get_xact_tuples_returned(oid)) filter (where relkind = 'i'), 0)::int as entries,
      coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::int as blocks
    from pg_class
    where relnamespace = 'event_store'::regnamespace and relkind in ('r', 'i')`;
  return counters;
}
