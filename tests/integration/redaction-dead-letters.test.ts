// The error of a dead letter never quotes data that a redaction erased, however the two overlap.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { DomainEvent } from "../../scripts/lib/event-store/event.ts";
import { replayDeadLetters } from "../../scripts/lib/event-store/projection/dead-letters.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { groupRoles } from "../../scripts/lib/postgres/logins/roles.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { readViolations } from "../../scripts/lib/schema/invariants.ts";
import { append } from "../support/append.ts";
import { withArchives } from "../support/archive.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { openTestStore } from "../support/event-store.ts";
import { eventually } from "../support/projection.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

const secret = "ada@example.org";

interface Person {
  readonly id: string;
  readonly stream: string;
}

async function registerPerson(sql: Sql = database.sql): Promise<Person> {
  const id = randomUUID();
  const registered = { event_type: "Registered", event_data: { mail: secret } };
  return { id, stream: await append(sql, { type: "Person", id, events: [registered, registered, registered] }) };
}

async function redact(sql: Sql, { id }: Person, version: number): Promise<void> {
  await sql`select event_store.redact_event('Person', ${id}, ${version}, 'erasure')`;
}

/** Writes a dead letter with an error that quotes an event, as a projection does. */
async function writeLetter(sql: Sql, { id, stream }: Person, version: number, name = "mails"): Promise<void> {
  await sql`
    insert into read_model.dead_letter
      (name, version, stream_id, aggregate_version, aggregate_type, aggregate_id, event_type, attempts, error)
    values (${name}, 1, ${stream}, ${version}, 'Person', ${id}, 'Registered', 5, ${`invalid input: "${secret}"`})`;
}

interface Letter {
  readonly name: string;
  readonly version: number;
  readonly attempts: number;
  readonly quotes: boolean;
}

async function readLetters(sql: Sql, { stream }: Person): Promise<string[]> {
  const rows = await sql<Letter[]>`
    select name, aggregate_version as version, attempts, coalesce(error like ${`%${secret}%`}, false) as quotes
    from read_model.dead_letter where stream_id = ${stream} order by name, aggregate_version`;
  return rows.map(({ name, version, attempts, quotes }) => `${name} ${version} ${attempts} ${quotes ? "quotes" : "-"}`);
}

async function isWaitingForLock(): Promise<boolean> {
  const rows = await database.admin`
    select from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())`;
  return rows.length > 0;
}

test("a redaction erases the errors of its event and of later ones of the stream, in all projections", async () => {
  const person = await registerPerson();
  const other = await registerPerson();
  for (const version of [1, 2, 3]) await writeLetter(database.sql, person, version);
  await writeLetter(database.sql, person, 2, "names");
  await writeLetter(database.sql, other, 2);
  await redact(database.admin, person, 2);
  const left = ["mails 1 5 quotes", "mails 2 5 -", "mails 3 5 -", "names 2 5 -"];
  assert.deepEqual(await readLetters(database.sql, person), left);
  assert.deepEqual(await readLetters(database.sql, other), ["mails 2 5 quotes"]);
});

test("an error of an event that was redacted before is not stored, those of other events are", async () => {
  const person = await registerPerson();
  await redact(database.admin, person, 2);
  for (const version of [1, 2, 3]) await writeLetter(database.sql, person, version);
  assert.deepEqual(await readLetters(database.sql, person), ["mails 1 5 quotes", "mails 2 5 -", "mails 3 5 quotes"]);
  await database.sql`update read_model.dead_letter set error = ${secret} where stream_id = ${person.stream}`;
  assert.deepEqual(await readLetters(database.sql, person), ["mails 1 5 quotes", "mails 2 5 -", "mails 3 5 quotes"]);
});

test("a redaction waits for a transaction that has stored an error, and erases the error", async () => {
  const person = await registerPerson();
  const redaction = await inTransaction(database.sql, async (tx) => {
    await writeLetter(tx, person, 2);
    const waiting = redact(database.admin, person, 2);
    await eventually(isWaitingForLock);
    return { waiting };
  });
  await redaction.waiting;
  assert.deepEqual(await readLetters(database.sql, person), ["mails 2 5 -"]);
});

test("a projection neither waits for a redaction in progress nor stores an error meanwhile", async () => {
  const person = await registerPerson();
  await inTransaction(database.admin, async (tx) => {
    await redact(tx, person, 2);
    await writeLetter(database.sql, person, 2);
  });
  assert.deepEqual(await readLetters(database.sql, person), ["mails 2 5 -"]);
});

test("a projection and a replay that read an event before its redaction store no error that quotes it", async () => {
  const person = await registerPerson();
  await using store = openTestStore(database, { logger: false });
  const definition: ProjectionDefinition<DomainEvent<"Registered", { mail?: string }>> = {
    name: "slow mails",
    version: 1,
    events: ["Registered"],
    handle: async (events) => {
      const event = events.find(
        ({ streamId, aggregateVersion }) => streamId === person.stream && aggregateVersion === 1,
      );
      if (event === undefined) return;
      await redact(database.admin, person, 1);
      throw new Error(`${event.data.mail ?? secret} is not valid`);
    },
  };
  await project(store, { ...definition, retryPauseMs: 1, stopWhenCaughtUp: true });
  const left = (attempts: number) =>
    [1, 2, 3].map((version) => `slow mails ${version} ${version === 1 ? attempts : 0} -`);
  assert.deepEqual(await readLetters(database.sql, person), left(5));
  await replayDeadLetters(store, definition);
  assert.deepEqual(await readLetters(database.sql, person), left(6));
});

test("the redactions that a restore repeats erase errors too", async () => {
  await using archives = await withArchives();
  const person = await registerPerson(archives.database.sql);
  await writeLetter(archives.database.sql, person, 2);
  await archives.backUp();
  await redact(archives.database.admin, person, 2);
  assert.equal((await archives.restore()).redacted, 1);
  assert.deepEqual(await readLetters(archives.database.sql, person), ["mails 2 5 -"]);
});

test("verify finds an error and a snapshot that a redaction overlooked", async () => {
  const person = await registerPerson();
  await using owner = openConnection(database.administrator, { role: groupRoles.owner });
  assert.deepEqual(await readViolations(owner.sql), []);
  await redact(database.admin, person, 2);
  await owner.sql`alter table read_model.dead_letter disable trigger user`;
  for (const version of [1, 2, 3]) await writeLetter(owner.sql, person, version);
  await owner.sql`
    insert into event_store.snapshot (stream_id, aggregate_version, state_version, state, redactions)
    values (${person.stream}, 1, 1, '{}', 0), (${person.stream}, 3, 2, '{}', 0), (${person.stream}, 3, 3, '{}', 1)`;
  const place = { stream_id: person.stream };
  assert.deepEqual(await readViolations(owner.sql), [
    {
      invariant: "event_store.redaction_leaves_nothing",
      rows: [
        { remains: "snapshot", ...place, aggregate_version: 3, detail: "2" },
        { remains: "error of a dead letter", ...place, aggregate_version: 2, detail: "mails 1" },
      ],
    },
  ]);
});
