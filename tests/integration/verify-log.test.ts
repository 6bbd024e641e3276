import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { append } from "../support/append.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { check, fails, passes, verify } from "../support/verify.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
  for (let count = 0; count < 3; count++) await append(database.sql, {});
});
after(() => database[Symbol.asyncDispose]());

/** How the log can be damaged, what is reported, and how the damage is undone. */
const damages: readonly (readonly [id: string, why: RegExp, damage: string, undo: string])[] = [
  [
    "immutability",
    /cqrs_owner: delete from event_store\.domain_event where false: is allowed.*domain_event_is_immutable is missing/s,
    "alter table event_store.domain_event disable trigger domain_event_is_immutable",
    "alter table event_store.domain_event enable always trigger domain_event_is_immutable",
  ],
  [
    "immutability",
    /a superuser, as a replica: update event_store\.domain_event .*: is allowed/,
    "alter table event_store.domain_event enable trigger domain_event_is_redacted_openly",
    "alter table event_store.domain_event enable always trigger domain_event_is_redacted_openly",
  ],
  [
    "immutability",
    /the trigger event_store\.domain_event_keeps_its_place is missing/,
    "alter table event_store.domain_event disable trigger domain_event_keeps_its_place",
    "alter table event_store.domain_event enable always trigger domain_event_keeps_its_place",
  ],
  [
    "immutability",
    /^no trigger refuses to truncate event_store\.redaction$/m,
    `create or replace trigger redaction_is_immutable before update or delete on event_store.redaction
     for each statement execute function event_store.refuse_change();
     alter table event_store.redaction enable always trigger redaction_is_immutable`,
    `create or replace trigger redaction_is_immutable before update or delete or truncate on event_store.redaction
     for each statement execute function event_store.refuse_change();
     alter table event_store.redaction enable always trigger redaction_is_immutable`,
  ],
  [
    "invariants",
    /^event_store\.stream_ends_with_its_version: .*"version":2/m,
    "update event_store.event_stream set version = 2",
    "update event_store.event_stream set version = 1",
  ],
  [
    "epoch",
    /sequence_is_past_all_positions/,
    "select setval('event_store.domain_event_global_position', 1)",
    "select setval('event_store.domain_event_global_position', 3)",
  ],
  [
    "epoch",
    /the sequence of positions was altered/,
    "alter sequence event_store.domain_event_global_position cache 20",
    "alter sequence event_store.domain_event_global_position cache 1",
  ],
  [
    "epoch",
    /epoch_is_of_this_server: .*"fact":"timeline"/,
    `insert into event_store.log_epoch (epoch_number, began_after, reason, system_identifier, timeline, database_oid)
     select max(epoch_number) + 1, 0, 'elsewhere', max(system_identifier), 77, max(database_oid)
     from event_store.log_epoch`,
    "select event_store.begin_epoch('back again', null, false)",
  ],
];

for (const [id, why, damage, undo] of damages) {
  test(`${id} fails after: ${damage.replaceAll(/\s+/g, " ").slice(0, 90)}`, async () => {
    await database.admin.unsafe(damage).simple();
    await fails(id, why, database);
    await database.admin.unsafe(undo).simple();
    assert.equal((await check(database, id)).result, "ok");
  });
}

test("a function that refuses nothing is found by trying, although all triggers are there", async () => {
  const [row] = await database.admin<{ source: string }[]>`
    select pg_get_functiondef('event_store.refuse_change()'::regprocedure) as source`;
  await database.admin.unsafe(`create or replace function event_store.refuse_change() returns trigger
    language plpgsql as 'begin return null; end'`);
  await fails("immutability", /delete from event_store\.log_epoch where false: is allowed/, database);
  await database.admin.unsafe(row?.source ?? "");
  await passes(database);
});

for (const mode of ["share", "access exclusive"]) {
  test(`a table that is locked in ${mode} mode is not waited for, and what needs it counts as not checked`, async () => {
    const transaction = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const holder = database.admin.begin(async (tx) => {
      await tx.unsafe(`lock table event_store.domain_event in ${mode} mode`);
      locked.resolve();
      await transaction.promise;
    });
    await locked.promise;
    const { ok, checks } = await verify(database);
    transaction.resolve();
    await holder;
    const skipped = checks.filter(({ evidence }) => evidence.includes("another session has locked what it needs"));
    assert.equal(ok, true, JSON.stringify(checks.filter(({ result }) => result === "failed")));
    for (const id of ["least-privilege", "immutability", ...(mode === "share" ? [] : ["invariants", "epoch"])])
      assert.ok(
        skipped.some((item) => item.id === id),
        id,
      );
  });
}

test("a database without a schema fails without a stack trace", async () => {
  await using empty = await withDatabase({ isEmpty: true });
  const { checks } = await verify(empty);
  const failed = checks.filter(({ result }) => result === "failed").map(({ id }) => id);
  for (const id of ["schemas", "extensions", "migrations", "least-privilege", "immutability", "epoch", "projections"])
    assert.ok(failed.includes(id), id);
});
