import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { append } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

const registered = { event_type: "Registered", event_data: { name: "Ada" }, metadata: { ip: "::1" } };

async function codeOf(query: Promise<unknown>): Promise<string> {
  return query.then(
    () => "no error",
    (error: { code: string }) => error.code,
  );
}

async function registerPerson(): Promise<{ readonly id: string; readonly stream: string }> {
  const id = randomUUID();
  return { id, stream: await append(database.sql, { type: "Person", id, events: [registered, registered] }) };
}

function readRows(stream: string): Promise<Record<string, unknown>[]> {
  return database.admin`select * from event_store.domain_event where stream_id = ${stream} order by aggregate_version`;
}

test("redact_event() replaces data and metadata of one event only, and records who, when and why", async () => {
  const { id, stream } = await registerPerson();
  const before = await readRows(stream);
  await database.admin`select event_store.redact_event('Person', ${id}, 1, 'request 17')`;
  const [first, second] = await readRows(stream);
  assert.deepEqual({ ...first }, { ...before[0], event_data: {}, metadata: null });
  assert.deepEqual({ ...second }, { ...before[1] });
  const [record, ...others] = await database.sql<Record<string, unknown>[]>`
    select aggregate_version, redacted_by, reason, now() - redacted_at < interval '1 minute' as "isNow"
    from event_store.redaction where stream_id = ${stream}`;
  assert.deepEqual(
    { ...record },
    { aggregate_version: 1, redacted_by: database.administrator.user, reason: "request 17", isNow: true },
  );
  assert.deepEqual(others, []);
});

test("redact_event() can store other data in the event, more than once", async () => {
  const { id, stream } = await registerPerson();
  await database.admin`select event_store.redact_event('Person', ${id}, 2, 'first', '{"name":"A."}', '{"ip":null}')`;
  await database.admin`select event_store.redact_event('Person', ${id}, 2, 'again', '{"name":"-"}')`;
  const rows = await readRows(stream);
  assert.deepEqual([rows[1]?.["event_data"], rows[1]?.["metadata"]], [{ name: "-" }, null]);
  const records = await database.sql`select reason from event_store.redaction where stream_id = ${stream}`;
  assert.deepEqual(records.map(({ reason }) => reason).toSorted(), ["again", "first"]);
});

test("redact_event() deletes snapshots that include the event, and keeps earlier ones", async () => {
  const { id } = await registerPerson();
  await database.sql`select event_store.save_snapshot('Person', ${id}, 1, 1, '{"name":"Ada"}')`;
  await database.sql`select event_store.save_snapshot('Person', ${id}, 2, 2, '{"name":"Ada"}')`;
  await database.admin`select event_store.redact_event('Person', ${id}, 2, 'request 18')`;
  const left = await database.sql`
    select state_version from event_store.snapshot
    where stream_id = event_store.stream_id_of('Person', ${id})`;
  assert.deepEqual(
    left.map((row) => row["state_version"]),
    [1],
  );
});

test("redact_event() refuses an unknown event, a missing reason and missing data, and records nothing", async () => {
  const { id, stream } = await registerPerson();
  const calls: readonly (readonly [string, string])[] = [
    [`'Person', '${id}', 3, 'why'`, "UE003"],
    [`'Person', '${randomUUID()}', 1, 'why'`, "UE003"],
    [`'Person', '${id}', 1, ' '`, "UE007"],
    [`'Person', '${id}', 1, null`, "UE007"],
    [`'Person', '${id}', 1, 'why', 'null'`, "UE007"],
    [`'Person', '${id}', 1, 'why', null`, "UE007"],
  ];
  for (const [given, code] of calls) {
    assert.equal(await codeOf(database.admin.unsafe(`select event_store.redact_event(${given})`)), code, given);
  }
  assert.deepEqual([...(await database.sql`select from event_store.redaction where stream_id = ${stream}`)], []);
});

test("the application may not redact without a grant", async () => {
  const { id } = await registerPerson();
  const redact = (sql: Sql) => codeOf(sql`select event_store.redact_event('Person', ${id}, 1, 'why')`);
  assert.equal(await redact(database.sql), "42501");
  assert.equal(await codeOf(database.sql`insert into event_store.redaction default values`), "42501");
});

/** What the owner tries in a transaction that has recorded the redaction of one event. */
const evasions: Readonly<Record<string, string>> = {
  "another event": "update event_store.domain_event set event_data = '{}' where aggregate_version = 2",
  "all events": "update event_store.domain_event set event_data = '{}'",
  "its type": "update event_store.domain_event set event_type = 'Other' where aggregate_version = 1",
  "its version": "update event_store.domain_event set aggregate_version = 9 where aggregate_version = 1",
  "its time": "update event_store.domain_event set occurred_at = now() where aggregate_version = 1",
  "its being there": "delete from event_store.domain_event where aggregate_version = 1",
  "the record": "update event_store.redaction set reason = 'another'",
  "the record's being there": "delete from event_store.redaction",
  "all records' being there": "truncate event_store.redaction",
};
for (const [what, statement] of Object.entries(evasions)) {
  test(`a recorded redaction permits changes to one event's data only: ${what} is protected`, async () => {
    const { stream } = await registerPerson();
    const code = await codeOf(
      database.admin.begin(async (tx) => {
        await tx.unsafe(`set local role ${groupRoles.owner}`);
        await tx`insert into event_store.redaction (stream_id, aggregate_version, reason) values (${stream}, 1, 'why')`;
        const where = /domain_event/.test(statement) && / where /.test(statement) ? ` and stream_id = '${stream}'` : "";
        await tx.unsafe(statement + where);
      }),
    );
    assert.equal(code, "UE006");
  });
}

test("a redaction of an earlier transaction permits nothing, and neither does any setting", async () => {
  const { id, stream } = await registerPerson();
  await database.admin`select event_store.redact_event('Person', ${id}, 1, 'why')`;
  const code = await codeOf(
    database.admin.begin(async (tx) => {
      await tx`select set_config('cqrs.redaction', 'on', true)`;
      await tx`update event_store.domain_event set event_data = '{}' where stream_id = ${stream} and aggregate_version = 1`;
    }),
  );
  assert.equal(code, "UE006");
});
