// A snapshot never contains data that a redaction erased, however the two overlap.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { type AggregateDefinition, loadAggregate } from "../../scripts/lib/event-store/aggregate.ts";
import type { DomainEvent } from "../../scripts/lib/event-store/event.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { append } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openTestStore } from "../support/event-store.ts";
import { eventually } from "../support/projection.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

const secret = '{"name":"SECRET"}';
const renamed = { event_type: "Renamed", event_data: { name: "SECRET" } };

async function registerPerson(): Promise<string> {
  const id = randomUUID();
  await append(database.sql, { type: "Person", id, events: [renamed, renamed, renamed] });
  return id;
}

async function redact(sql: Sql, id: string, version: number): Promise<void> {
  await sql`select event_store.redact_event('Person', ${id}, ${version}, 'erasure')`;
}

/** Saves a snapshot as a caller that does not pass the number of redactions, unless it is given. */
async function save(sql: Sql, id: string, version: number, redactions?: number | null): Promise<boolean> {
  const [row] =
    redactions === undefined
      ? await sql<{ saved: boolean }[]>`
          select event_store.save_snapshot('Person', ${id}, ${version}, 1, ${secret}::text::jsonb) as saved`
      : await sql<{ saved: boolean }[]>`
          select event_store.save_snapshot('Person', ${id}, ${version}, 1, ${secret}::text::jsonb, ${redactions}) as saved`;
  return row?.saved === true;
}

async function readVersions(id: string): Promise<number[]> {
  const rows = await database.sql<{ version: number }[]>`
    select aggregate_version as version from event_store.snapshot
    where stream_id = event_store.stream_id_of('Person', ${id})`;
  return rows.map(({ version }) => version);
}

async function isWaitingForLock(): Promise<boolean> {
  const rows = await database.admin`
    select from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())`;
  return rows.length > 0;
}

const savers: Readonly<Record<string, number | null | undefined>> = {
  "does not count redactions": undefined,
  "counted them before it read": 0,
  "counted none": null,
  "counted more than there are": 7,
};
for (const [who, counted] of Object.entries(savers)) {
  test(`save_snapshot() refuses a state read before a redaction, from a caller that ${who}`, async () => {
    const id = await registerPerson();
    await redact(database.admin, id, 2);
    assert.equal(await save(database.sql, id, 2, counted), false);
    assert.equal(await save(database.sql, id, 3, counted), false);
    assert.deepEqual(await readVersions(id), []);
  });
}

test("save_snapshot() saves a state read after the redactions, or of a version before them", async () => {
  const id = await registerPerson();
  await redact(database.admin, id, 2);
  await redact(database.admin, id, 3);
  assert.equal(await save(database.sql, id, 1), true, "before the redacted events");
  assert.equal(await save(database.sql, id, 3, 1), false, "read between the two redactions");
  assert.equal(await save(database.sql, id, 3, 2), true, "read after both");
  assert.deepEqual(await readVersions(id), [3]);
});

test("save_snapshot() accepts the arguments of earlier callers: positional, named and untyped", async () => {
  const id = await registerPerson();
  const lists = [
    `'Person'::varchar, '${id}'::uuid, 1::integer, 1::integer, '{}'::jsonb`,
    `'Person', '${id}', 2, 1, '{}'`,
    `aggregate_type => 'Person', aggregate_id => '${id}', state => '{}', aggregate_version => 3, state_version => 1`,
  ];
  for (const list of lists) {
    const [row] = await database.sql.unsafe<{ saved: boolean }[]>(`select event_store.save_snapshot(${list}) as saved`);
    assert.equal(row?.saved, true, list);
  }
});

test("a redaction waits for a transaction that has saved a snapshot, and deletes the snapshot", async () => {
  const id = await registerPerson();
  const redaction = await inTransaction(database.sql, async (tx) => {
    assert.equal(await save(tx, id, 3), true);
    const waiting = redact(database.admin, id, 2);
    await eventually(isWaitingForLock);
    return { waiting };
  });
  await redaction.waiting;
  assert.deepEqual(await readVersions(id), []);
});

test("save_snapshot() neither waits for a redaction in progress nor overlooks it, and appends go on", async () => {
  const id = await registerPerson();
  await inTransaction(database.admin, async (tx) => {
    await redact(tx, id, 2);
    assert.equal(await save(database.sql, id, 3), false);
    await append(database.sql, { type: "Person", id, events: [renamed] });
  });
  assert.deepEqual(await readVersions(id), []);
  assert.equal(await save(database.sql, id, 4, 1), true);
});

test("save_snapshot() can save again after a redaction that was rolled back", async () => {
  const id = await registerPerson();
  const rollback = new Error("rolled back");
  const work = inTransaction(database.admin, async (tx) => {
    await redact(tx, id, 2);
    throw rollback;
  });
  await assert.rejects(work, rollback);
  assert.equal(await save(database.sql, id, 3), true);
});

for (const level of ["repeatable read", "serializable"] as const) {
  test(`a ${level} transaction, which cannot see later commits, neither saves a snapshot nor redacts`, async () => {
    const id = await registerPerson();
    const session = await database.admin.reserve();
    try {
      await session.unsafe(`begin isolation level ${level}`).simple();
      await session`select from event_store.read_stream('Person', ${id})`;
      await inTransaction(database.admin, (tx) => redact(tx, id, 1));
      assert.equal(await save(session as unknown as Sql, id, 3), false);
      await session`commit`.simple();
      await session.unsafe(`begin isolation level ${level}`).simple();
      await assert.rejects(redact(session as unknown as Sql, id, 2), {
        code: "25001",
        message: `an event cannot be redacted in a ${level} transaction`,
      });
      await session`rollback`.simple();
    } finally {
      session.release();
    }
    assert.deepEqual(await readVersions(id), []);
  });
}

test("a redaction while loadAggregate() folds the events keeps it from saving their data", async () => {
  const id = await registerPerson();
  await using store = openTestStore(database);
  const sql = new Proxy(store.sql, {
    async apply(target, _self, [strings, ...values]: [TemplateStringsArray, ...never[]]) {
      if (strings.join().includes("save_snapshot")) await redact(database.admin, id, 2);
      return await target(strings, ...values);
    },
  });
  assert.deepEqual((await loadAggregate({ ...store, sql }, person, id)).state, { names: Array(3).fill("SECRET") });
  assert.deepEqual(await readVersions(id), []);
  const { state } = await loadAggregate(store, person, id);
  assert.deepEqual(state, { names: ["SECRET", null, "SECRET"] });
  assert.deepEqual(await readVersions(id), [3]);
  assert.deepEqual((await loadAggregate(store, person, id)).state, state);
});

type Renamed = DomainEvent<"Renamed", { readonly name?: string }>;

const person: AggregateDefinition<{ readonly names: (string | null)[] }, Renamed> = {
  type: "Person",
  initialState: () => ({ names: [] }),
  evolve: ({ names }, { data }) => ({ names: [...names, data.name ?? null] }),
  snapshots: { stateVersion: 1, everyEvents: 3 },
};
