import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { replayDeadLetters } from "../../scripts/lib/event-store/projection/dead-letters.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { finds, isHealthy } from "../support/doctor.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { journal, runInBackground } from "../support/projection.ts";

/** Every delay is too long. */
const impatient = { areas: ["log", "projections"], limits: { maxLagSeconds: 0, maxStalledSeconds: 0 } };

let database: TestDatabase;
let store: EventStore;
before(async () => {
  database = await withDatabase();
  store = openTestStore(database, { logger: false });
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const once = { stopWhenCaughtUp: true, retryPauseMs: 1, maxAttempts: 1 } as const;

async function append(by = store): Promise<void> {
  await appendEvents(by, newOrder(), [orderPlaced]);
}

/** Forgets a projection, so that the next test begins with none. */
async function forget(): Promise<void> {
  for (const table of ["dead_letter", "projection", "projection_version"])
    await database.admin.unsafe(`delete from read_model.${table}`);
}

test("a projection that no process runs is found once events wait, and running it fixes it", async () => {
  await append();
  await project(store, { ...journal("stalled"), ...once });
  await isHealthy(database, impatient);
  await append();
  const evidence = /^version 1 of stalled is stalled, because no process runs it: 1 events behind/;
  await finds(
    "projection-stalled",
    { evidence, fix: /projections run.*projections remove stalled/ },
    database,
    impatient,
  );
  await isHealthy(database, { areas: impatient.areas });
  await project(store, { ...journal("stalled"), ...once });
  await isHealthy(database, impatient);
});

test("a projection that runs and does not keep up is found, and is healthy once it has", async () => {
  await append();
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const definition = journal("stalled");
  const handle: typeof definition.handle = async (events, tx) => {
    begun.resolve();
    await gate.promise;
    await definition.handle(events, tx);
  };
  await using running = runInBackground<OrderEvent>(store, { ...definition, ...once, handle });
  await begun.promise;
  await finds(
    "projection-late",
    { evidence: /stalled is running, and 1 events behind/, fix: /its run/ },
    database,
    impatient,
  );
  gate.resolve();
  await running.ended;
  await isHealthy(database, impatient);
});

test("dead letters are found, and replaying them fixes it", async () => {
  await forget();
  const definition = { ...journal("failing"), handle: () => Promise.reject(new Error("no")) };
  await project(store, { ...definition, ...once });
  const evidence = /^version 1 of failing has \d+ dead letters$/;
  await finds("dead-letters", { evidence, fix: /read_model\.dead_letter.*projections replay/ }, database, impatient);
  await replayDeadLetters(store, journal("failing"));
  await isHealthy(database, impatient);
});

test("events that were appended without the inline projection are found", async () => {
  await forget();
  const definition: ProjectionDefinition<OrderEvent> = journal("inline_orders");
  await project(store, { ...definition, ...once });
  await using listing = openTestStore(database, { inlineProjections: [definition] });
  await append(listing);
  await isHealthy(database, impatient);
  await append();
  const evidence = /^version 1 of inline_orders is bypassed .*: 1 events behind/;
  await finds("projection-bypassed", { evidence, fix: /List it in inlineProjections/ }, database, impatient);
});

test("a projection that is ahead of a log that was rewound is found, and a new epoch and version fix it", async () => {
  await forget();
  await using own = await withDatabase();
  await using orders = openTestStore(own, { logger: false });
  for (let count = 0; count < 3; count++) await append(orders);
  await project(orders, { ...journal("ahead"), ...once });
  await rewind(own);
  const evidence = /^version 1 of ahead is ahead of the log, which was rewound$/;
  await finds(
    "checkpoint-ahead",
    { evidence, fix: /begin_epoch.*raise its version.*projections rebuild/ },
    own,
    impatient,
  );
  await own.admin`select event_store.begin_epoch('rewound')`;
  // The new version takes over once it has passed the checkpoint of the old one.
  await append(orders);
  await using restarted = openTestStore(own, { logger: false });
  await project(restarted, { ...journal("ahead", 2), ...once });
  await isHealthy(own, impatient);
});

const triggers = ["domain_event_is_immutable", "domain_event_is_redacted_openly", "domain_event_keeps_its_place"];

/** Takes the log back to its first event, as a restore of an older copy of the table would. */
async function rewind({ administrator }: TestDatabase): Promise<void> {
  await using admin = openConnection(administrator);
  const table = "event_store.domain_event";
  await admin.sql
    .unsafe(`begin; ${triggers.map((name) => `alter table ${table} disable trigger ${name}`).join("; ")};
      delete from ${table} where global_position > (select min(global_position) from ${table});
      ${triggers.map((name) => `alter table ${table} enable always trigger ${name}`).join("; ")};
      select setval('event_store.domain_event_global_position', min(global_position)) from ${table}; commit`)
    .simple();
  assert.equal((await admin.sql`select from event_store.domain_event`).length, 1);
}
