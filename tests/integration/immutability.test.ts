import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Transaction } from "../../scripts/lib/postgres/driver.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";

const changes: readonly string[] = [
  "update event_store.domain_event set event_data = '{}'",
  "update event_store.domain_event set event_data = '{}' where false",
  "delete from event_store.domain_event",
  "delete from event_store.domain_event where event_type = 'no such type'",
  "truncate event_store.domain_event",
  "truncate event_store.domain_event, event_store.event_stream cascade",
  `merge into event_store.domain_event as event using (select 1) as nothing on event.event_type = 'no such type'
   when matched then delete`,
];
/** An insert that becomes an update because the event exists. */
const upsert = `insert into event_store.domain_event (stream_id, aggregate_version, event_type, event_data)
  select stream_id, aggregate_version, event_type, event_data from event_store.domain_event
  on conflict (stream_id, aggregate_version) do update set event_type = 'Changed'`;

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
  await database.sql`
    select event_store.append_events('Order', gen_random_uuid(), 0, array['{"event_type":"A","event_data":{}}']::jsonb[])`;
});
after(() => database[Symbol.asyncDispose]());

for (const change of [...changes, upsert]) {
  test(`the application may not run: ${firstWords(change)}`, async () => {
    assert.equal(await codeOf(database.sql.unsafe(change)), "42501");
  });

  for (const who of ["the owner", "a superuser"]) {
    for (const replication of ["origin", "replica"]) {
      test(`${who} is refused with UE006 under session_replication_role = ${replication}: ${firstWords(change)}`, async () => {
        const error = await refusal(
          database.admin.begin(async (tx) => {
            await tx.unsafe(`set local session_replication_role = ${replication}`);
            if (who === "the owner") await tx.unsafe(`set local role ${groupRoles.owner}`);
            await tx.unsafe(change);
          }),
        );
        assert.equal(error.code, "UE006");
        assert.match(
          error.message,
          /^events are immutable: (update|delete|truncate) of event_store\.domain_event is refused$/,
        );
        assert.match(error.hint, /^Append an event that corrects the earlier one; .* event_store\.redact_event\.$/);
      });
    }
  }
}

test("the application can write to the event store only through its functions", async () => {
  const refused = [
    `insert into event_store.domain_event (stream_id, aggregate_version, event_type, event_data)
     values (gen_random_uuid(), 1, 'A', '{}')`,
    "insert into event_store.event_stream (stream_id, aggregate_id, aggregate_type) values (gen_random_uuid(), gen_random_uuid(), 'A')",
    "update event_store.event_stream set version = 0",
    "delete from event_store.event_stream",
    "truncate event_store.event_stream",
    "select nextval('event_store.domain_event_global_position')",
    "select setval('event_store.domain_event_global_position', 1)",
    "copy event_store.domain_event from stdin",
    "select event_store.append_problem('A', gen_random_uuid(), 0, '{}', null)",
    "select event_store.advance_stream(gen_random_uuid(), 'A', gen_random_uuid(), 0, 1)",
    "select event_store.advance_named_stream(gen_random_uuid(), 'A', gen_random_uuid(), 0, 1, 'a')",
    "select event_store.append_detail(0, 0, 'A', gen_random_uuid(), null)",
    "create table event_store.mine (id int)",
    "create function event_store.mine() returns int language sql as 'select 1'",
  ];
  for (const statement of refused) assert.equal(await codeOf(database.sql.unsafe(statement)), "42501", statement);
});

test("the application cannot disable what protects the events", async () => {
  const refused = [
    "alter table event_store.domain_event disable trigger domain_event_is_immutable",
    "alter table event_store.domain_event disable trigger all",
    "drop trigger domain_event_is_immutable on event_store.domain_event",
    "drop table event_store.domain_event",
    "drop schema event_store cascade",
    "alter table event_store.domain_event owner to cqrs_app",
    "create or replace function event_store.refuse_change() returns trigger language plpgsql as 'begin return null; end'",
    "set session_replication_role = replica",
    "set role cqrs_owner",
    "grant cqrs_owner to cqrs_app",
  ];
  // Also as the login itself: it starts as cqrs_app, but may reset its role.
  for (const role of [groupRoles.app, database.application.user]) {
    for (const statement of refused) {
      const attempt = database.sql.begin(async (tx) => {
        await tx.unsafe(`set local role ${quoteIdentifier(role)}`);
        await tx.unsafe(statement);
      });
      assert.equal(await codeOf(attempt), "42501", `${role}: ${statement}`);
    }
  }
});

test("what the application creates belongs to cqrs_app, and another login of it can use and change it", async () => {
  await using other = await withLogin(`in role ${groupRoles.app}`, `set role = ${groupRoles.app}`);
  for (const schema of ["read_model", "command_model"]) {
    await database.sql.unsafe(`create table ${schema}.invoice (id int)`);
    const [row] = await database.sql`
      select relowner::regrole::text as owner from pg_class where oid = ${`${schema}.invoice`}::text::regclass`;
    assert.equal(row?.["owner"], groupRoles.app);
    await using connection = openConnection(other.target);
    await connection.sql
      .unsafe(`insert into ${schema}.invoice values (1); alter table ${schema}.invoice add note text`)
      .simple();
    const rows = await database.sql.unsafe(`select id, note from ${schema}.invoice`);
    assert.deepEqual(
      [...rows].map((row) => ({ ...row })),
      [{ id: 1, note: null }],
    );
    await connection.sql.unsafe(`drop table ${schema}.invoice`);
  }
});

test("the application can read and write what a migration creates in read_model and command_model", async () => {
  for (const schema of ["read_model", "command_model"]) {
    await asOwner(async (tx) => {
      await tx.unsafe(
        `create table ${schema}.customer (id int generated always as identity, number serial, name text)`,
      );
      await tx.unsafe(`create function ${schema}.one() returns int language sql as 'select 1'`);
    });
    await database.sql.unsafe(`insert into ${schema}.customer (name) values ('Ada')`);
    await database.sql.unsafe(`update ${schema}.customer set name = 'Grace'`);
    const [row] = await database.sql.unsafe(`select id, number, name, ${schema}.one() as one from ${schema}.customer`);
    assert.deepEqual({ ...row }, { id: 1, number: 1, name: "Grace", one: 1 });
    await database.sql.unsafe(`delete from ${schema}.customer`);
    assert.equal(await codeOf(database.sql.unsafe(`drop table ${schema}.customer`)), "42501");
  }
});

test("the application cannot use what a migration creates in event_store without a grant", async () => {
  await asOwner(async (tx) => {
    await tx.unsafe("create table event_store.hidden (id int)");
    await tx.unsafe("create function event_store.hidden() returns int language sql as 'select 1'");
  });
  for (const statement of ["select * from event_store.hidden", "select event_store.hidden()"]) {
    assert.equal(await codeOf(database.sql.unsafe(statement)), "42501", statement);
  }
});

test("the application's search path starts with command_model, where its own tables are created", async () => {
  const [row] = await database.sql`select current_setting('search_path') as path`;
  assert.equal(row?.["path"], "command_model, read_model, event_store, public");
  await database.sql`create table ordered (id int)`;
  const [place] =
    await database.sql`select relnamespace::regnamespace::text as schema from pg_class where relname = 'ordered'`;
  assert.equal(place?.["schema"], "command_model");
});

test("what runs as the owner never uses an operator from the application's search path", async () => {
  // The application's schema comes first, and has an operator that the functions would use; it records who ran it.
  await using application = openConnection(database.application, { searchPath: "command_model, pg_catalog" });
  const { sql } = application;
  await sql.unsafe(`
    create table ran_as (login name);
    create function taken(jsonb, text) returns text language plpgsql as $$
    begin
      insert into command_model.ran_as values (current_user);
      return pg_catalog.jsonb_object_field_text($1, $2);
    end
    $$;
    create operator command_model.->> (leftarg = jsonb, rightarg = text, function = command_model.taken)`);
  const aggregate = "'Order', gen_random_uuid()";
  const event = `'[{"event_type": "A", "event_data": {}}]'::jsonb`;
  await sql.unsafe(`
    select event_store.append(event_store.stream_id_of(type, id), type, id, 0, ${event})
    from (values (${aggregate})) as given (type, id)`);
  await sql.unsafe(`
    select event_store.append_batch(jsonb_build_array(jsonb_build_object(
      'aggregate_type', 'Order', 'aggregate_id', gen_random_uuid(), 'events', ${event}
    )))`);
  await sql.unsafe(
    `select event_store.append_events(${aggregate}, 0, array['{"event_type":"A","event_data":{}}'::jsonb])`,
  );
  const mine = await sql`select login from ran_as`;
  assert.deepEqual([...mine], []);
  await sql`select '{"a": "b"}'::jsonb ->> 'a'::text`;
  assert.equal((await sql`select login from ran_as`).length, 1, "the operator is in the path");
});

test("a login other than the application's may not connect to the database", async () => {
  await using stranger = await withLogin();
  await using connection = openConnection(stranger.target);
  const error = await refusal(connection.sql`select 1`);
  assert.equal(error.code, "42501");
  assert.match(error.message, /permission denied for database/);
});

interface TestLogin extends AsyncDisposable {
  readonly target: ConnectionTarget;
}

/** Creates a login for this file's database, and drops it when disposed of. */
async function withLogin(clause = "", setting?: string): Promise<TestLogin> {
  const user = `test_${randomUUID()}`;
  const name = quoteIdentifier(user);
  const password = generatePassword();
  await database.admin.unsafe(`create role ${name} login password '${password}' ${clause}`);
  if (setting !== undefined) await database.admin.unsafe(`alter role ${name} ${setting}`);
  return {
    target: { ...database.application, user, password },
    async [Symbol.asyncDispose]() {
      await database.admin.unsafe(`drop role ${name}`);
    },
  };
}

async function asOwner(work: (tx: Transaction) => Promise<void>): Promise<void> {
  await database.admin.begin(async (tx) => {
    await tx.unsafe(`set local role ${groupRoles.owner}`);
    await work(tx);
  });
}

async function refusal(work: PromiseLike<unknown>): Promise<{ code: string; message: string; hint: string }> {
  try {
    await work;
  } catch (error) {
    return error as { code: string; message: string; hint: string };
  }
  return assert.fail("it was not refused");
}

async function codeOf(work: PromiseLike<unknown>): Promise<string> {
  return (await refusal(work)).code;
}

function firstWords(statement: string): string {
  return statement.replaceAll(/\s+/g, " ").slice(0, 80);
}
