import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointAfter, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { LogRewound } from "../../scripts/lib/event-store/errors.ts";
import type { Checkpoint, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readProjectionLag, waitUntil } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { readLogProblems } from "../../scripts/lib/operations/log-problems.ts";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { readViolations } from "../../scripts/lib/schema/invariants.ts";
import { type ArchiveTest, withArchives } from "../support/archive.ts";
import { withDatabase } from "../support/database.ts";
import { newOrder, openTestStore, orderPlaced } from "../support/event-store.ts";
import { unusedPort } from "../support/port.ts";
import { bootstrapTestStack, makeTestStack, openTestStack, silentRun, withCluster } from "../support/stack.ts";

const skipped = 1_000_000n;

test("a reader that was ahead of a restored archive is told so, and where both logs branch", async () => {
  await using archives = await withArchives();
  const shared = await appendOrders(archives, 10);
  const { id } = await archives.backUp();
  const lost = await appendOrders(archives, 5);
  await archives.restore();
  const later = await appendOrders(archives, 3);
  await using store = openTestStore(archives.database);
  const error = await refusal(store, lost.checkpoint);
  assert.match(error.message, /^the log was rewound: the checkpoint at position 15 is beyond position 10, where/);
  const [, epoch] = await readEpochs(archives.database.admin);
  assert.deepEqual([epoch?.reason, epoch?.beganAfter], [`restore of ${id}`, 10n]);
  assert.deepEqual([error.code, error.position, error.currentEpochId], ["UE008", 15n, epoch?.id]);
  assert.deepEqual(await readIds(store, error.branch as Checkpoint), later.ids, "it can continue where they branch");
  assert.deepEqual(await readIds(store, shared.checkpoint), later.ids, "a reader that was not ahead continues");
  assert.deepEqual(await readIds(store, logStart), [...shared.ids, ...later.ids]);
});

test("a restore leaves out the positions that the replaced database has drawn", async () => {
  await using archives = await withArchives();
  await appendOrders(archives, 2);
  await archives.backUp();
  await appendOrders(archives, 3);
  await archives.restore();
  await using store = openTestStore(archives.database);
  const { lastPosition } = await appendEvents(store, newOrder(), [orderPlaced]);
  assert.equal(lastPosition, 5n + skipped + 1n);
  // A reader in SQL that has read position 5 skips none of the new events.
  const rows = await store.sql`select global_position from event_store.read_all(5)`;
  assert.deepEqual(
    rows.map((row) => row["global_position"]),
    [lastPosition],
  );
});

test("restoring an archive twice gives two epochs, and a reader of the first is refused by the second", async () => {
  await using archives = await withArchives();
  await appendOrders(archives, 4);
  await archives.backUp();
  await archives.restore();
  const first = await appendOrders(archives, 2);
  await archives.restore();
  await appendOrders(archives, 2);
  await using store = openTestStore(archives.database);
  const error = await refusal(store, first.checkpoint);
  assert.match(error.message, /is of epoch [0-9a-f-]{36}, which is not in this log$/);
  assert.equal(error.branch, null);
  await assert.rejects(readIds(store, checkpointAfter({ position: 5n })), LogRewound, "a position alone");
});

test("in a chain of three epochs, each checkpoint is accepted up to where the first later epoch began", async () => {
  await using database = await withDatabase();
  await using store = openTestStore(database);
  const ids: string[] = [];
  for (let count = 0; count < 12; count++) ids.push((await appendOne(store)).id);
  const first = await readCheckpoints(store);
  await database.admin`select event_store.begin_epoch('second', 9, false)`;
  const second = await readCheckpoints(store);
  await database.admin`select event_store.begin_epoch('third', 6, false)`;
  const third = await readCheckpoints(store);
  for (const [checkpoints, end] of [
    [first, 6],
    [second, 6],
    [third, 12],
  ] as const) {
    for (const [index, checkpoint] of checkpoints.entries()) {
      const position = index + 1;
      if (position <= end) assert.deepEqual(await readIds(store, checkpoint), ids.slice(position));
      else assert.equal((await refusal(store, checkpoint)).branch, third[end - 1]);
    }
  }
  // A position alone counts as one of the first epoch, which ended when the database was cloned.
  const { epochId, branch } = await refusal(store, checkpointAfter({ position: 1n }));
  assert.deepEqual([epochId, branch], [null, logStart]);
  // An event that was read from its stream says nothing about the epoch, but it is still there.
  assert.deepEqual(await readIds(store, checkpointAfter({ position: 7n, id: ids[6] as string })), ids.slice(7));
});

test("a restore up to a position or a time, and one of an incremental archive, begin their epochs there", async () => {
  await using archives = await withArchives();
  await appendOrders(archives, 6);
  await archives.backUp();
  await appendOrders(archives, 2);
  const { archive } = await archives.backUp({ incremental: true });
  const began = async () => (await readEpochs(archives.database.admin)).at(-1)?.beganAfter;
  await archives.restore({ archive });
  assert.equal(await began(), 8n);
  await archives.restore({ archive, onlyEventStore: true, until: { position: 4n } });
  assert.equal(await began(), 4n);
  const [row] = await archives.database.admin<{ time: string }[]>`
    select occurred_at::text as time from event_store.domain_event where global_position = 3`;
  await archives.restore({ archive, onlyEventStore: true, until: { time: row?.time ?? "" } });
  assert.equal(await began(), 3n);
});

test("an event in flight during a backup does not belong to what the restored log shares with the archived one", async () => {
  await using archives = await withArchives();
  const { database } = archives;
  await appendOrders(archives, 2);
  await using writer = openConnection(database.application);
  const late = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const writing = writer.sql.begin(async (tx) => {
    await appendTo(tx);
    begun.resolve();
    await late.promise;
  });
  await begun.promise;
  await appendOrders(archives, 1);
  await archives.backUp();
  late.resolve();
  await writing;
  await using store = openTestStore(database);
  const [checkpoint] = (await readCheckpoints(store)).slice(-1);
  await archives.restore();
  const error = await refusal(store, checkpoint as Checkpoint);
  assert.deepEqual([error.position, error.branchPosition], [4n, 2n], "the archive has 4, but not 3");
});

test("read_all() and project() refuse a checkpoint beyond the last position drawn, and projection_lag shows it", async () => {
  await using database = await withDatabase();
  await using store = openTestStore(database);
  await appendOne(store);
  await assert.rejects(database.sql`select from event_store.read_all(99)`, { code: "UE008" });
  const options = { name: "ahead", version: 1, handle: async () => {}, stopWhenCaughtUp: true };
  await project(store, options);
  await database.admin`update read_model.projection set checkpoint = 99`;
  await assert.rejects(project(store, options), LogRewound);
  const [lag] = await readProjectionLag(store);
  assert.equal(lag?.lagEvents, -98);
  assert.equal(lag?.logProblem, "UE008: the log was rewound: it ends before the checkpoint, at 1");
});

test("a subscription that is cut off by a restore is refused when it resumes", async () => {
  await using archives = await withArchives();
  await appendOrders(archives, 2);
  await archives.backUp();
  await using store = openTestStore(archives.database, { logger: false });
  await appendOrders(archives, 2);
  const seen: string[] = [];
  const following = (async () => {
    for await (const { events } of subscribe(store)) {
      seen.push(...events.map(({ id }) => id));
      if (seen.length === 4) await archives.restore();
    }
  })();
  await assert.rejects(following, LogRewound);
  assert.equal(seen.length, 4);
});

test("a copy of the data directory is reported, and refuses a reader of the original once they differ", async () => {
  await using original = await withCluster();
  await using copied = await makeTestStack();
  await using store = openEventStore(await original.application());
  for (let count = 0; count < 3; count++) await appendOne(store);
  await stopStack(await openTestStack(original.stackDir), silentRun);
  await cp(original.stackDir, copied.stackDir, { recursive: true });
  await bootstrapTestStack(original.stackDir);
  await using restarted = openEventStore(await original.application());
  for (let count = 0; count < 2; count++) await appendOne(restarted);
  const checkpoints = await readCheckpoints(restarted);
  assert.equal(
    (await readIds(restarted, checkpointAfter({ position: 3n }))).length,
    2,
    "a position of the first epoch",
  );
  // A stack without a state takes the cluster that it finds for its own.
  await rm(join(copied.stackDir, "state.json"));
  await bootstrapTestStack(copied.stackDir, { port: `${await unusedPort()}` });
  await using copy = openEventStore(await copied.application());
  await assert.rejects(readIds(copy, checkpoints[4] as Checkpoint), LogRewound);
  for (let count = 0; count < 4; count++) await appendOne(copy);
  const error = await refusal(copy, checkpoints[4] as Checkpoint);
  assert.match(error.message, /is of event [0-9a-f-]{36}, which is not there$/);
  assert.equal((await readIds(copy, checkpoints[2] as Checkpoint)).length, 4, "what they share is accepted");

  await using administrator = openConnection(await copied.administrator());
  const [problem] = await readLogProblems(administrator.sql);
  assert.match(problem ?? "", /^the data directory is .*, but the log's epoch began on .*begin_epoch/);
  const [violation] = await readViolations(administrator.sql);
  assert.equal(violation?.invariant, "event_store.epoch_is_of_this_server");
  await administrator.sql`select event_store.begin_epoch('a copy')`;
  assert.deepEqual(await readLogProblems(administrator.sql), []);
  assert.deepEqual(await readViolations(administrator.sql), []);
});

test("another system identifier, timeline or database is reported", async () => {
  await using database = await withDatabase();
  await database.admin`
    insert into event_store.log_epoch
      (epoch_number, began_after, reason, system_identifier, timeline, database_oid, data_directory)
    values (3, 0, 'elsewhere', 1, 7, 1, null)`;
  const problems = await readLogProblems(database.admin);
  assert.deepEqual(
    problems.map((problem) => /^the (.*) is \d+, but the log's epoch began on (\d+)/.exec(problem)?.slice(1)),
    [
      ["system identifier", "1"],
      ["timeline", "7"],
      ["database", "1"],
    ],
  );
});

test("synchronous_commit = off is reported for the server, the database and logins", async () => {
  await using database = await withDatabase();
  const login = `off ${randomUUID()}`;
  await database.admin.unsafe(`create role "${login}"; alter role "${login}" set synchronous_commit = off`).simple();
  await database.admin.unsafe(`alter database ${database.name} set synchronous_commit = off`);
  try {
    const problems = await readLogProblems(database.admin);
    assert.deepEqual(
      problems.map((problem) => problem.split(" is off")[0]),
      ["synchronous_commit of the database", `synchronous_commit of the login ${login}`],
    );
  } finally {
    await database.admin.unsafe(`drop role "${login}"`);
  }
});

test("begin_epoch() waits for appends in flight, refuses a negative position, and is not for the application", async () => {
  await using database = await withDatabase();
  await assert.rejects(database.admin`select event_store.begin_epoch('x', -1)`, { code: "UE007" });
  await assert.rejects(database.sql`select event_store.begin_epoch('x')`, { code: "42501" });
  await assert.rejects(database.admin`update event_store.log_epoch set began_after = 1`, { code: "UE006" });
  let beginning: Promise<unknown> | undefined;
  await database.sql.begin(async (tx) => {
    await appendTo(tx);
    beginning = database.admin`select event_store.begin_epoch('waits')`.execute();
    await untilWaiting(database.admin);
  });
  await beginning;
  assert.equal((await readEpochs(database.admin)).at(-1)?.beganAfter, 1n, "it counts the event that was in flight");
});

/** Some events of one stream each, and where a reader is that has read all of them. */
interface Appended {
  readonly ids: readonly string[];
  readonly checkpoint: Checkpoint;
}

async function appendOrders({ database }: ArchiveTest, count: number): Promise<Appended> {
  await using store = openTestStore(database);
  const ids: string[] = [];
  for (let made = 0; made < count; made++) ids.push((await appendOne(store)).id);
  const checkpoint = (await readCheckpoints(store)).at(-1) as Checkpoint;
  return { ids, checkpoint };
}

async function appendOne(store: EventStore): Promise<{ readonly id: string }> {
  const id = randomUUID();
  await appendEvents(store, newOrder(), [{ ...orderPlaced, id }]);
  return { id };
}

async function appendTo(sql: Pick<Sql, "unsafe">): Promise<void> {
  const event = `'{"event_type":"A","event_data":{}}'`;
  await sql.unsafe(`select event_store.append_events('Order', gen_random_uuid(), 0, array[${event}]::jsonb[])`);
}

/** @returns the checkpoint after each event of the log */
async function readCheckpoints(store: EventStore): Promise<Checkpoint[]> {
  return (await readEvents(store, logStart)).map(checkpointAfter);
}

async function readIds(store: EventStore, after: Checkpoint): Promise<string[]> {
  return (await readEvents(store, after)).map(({ id }) => id);
}

function readEvents(store: EventStore, after: Checkpoint): Promise<RecordedEvent[]> {
  return Array.fromAsync(readAll(store, { after }));
}

/** @returns the error with which all readers refuse a checkpoint; waitUntil() accepts a position alone */
async function refusal(store: EventStore, after: Checkpoint): Promise<LogRewound> {
  const error = await rejection(readEvents(store, after));
  const signal = AbortSignal.timeout(60_000);
  const other = await rejection(Array.fromAsync(subscribe(store, { after, signal })));
  assert.deepEqual([other.message, other.branch], [error.message, error.branch]);
  if (after.includes("/")) await assert.rejects(waitUntil(store, "any", after), LogRewound);
  return error;
}

async function rejection(work: Promise<unknown>): Promise<LogRewound> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LogRewound, `it was not refused, but ended with ${error}`);
  return error;
}

async function readEpochs(sql: Sql): Promise<{ id: string; reason: string; beganAfter: bigint }[]> {
  return await sql`
    select epoch_id as id, reason, began_after as "beganAfter" from event_store.log_epoch
    where reason not like 'clone%' order by epoch_number`;
}

async function untilWaiting(sql: Sql): Promise<void> {
  for (;;) {
    const [row] = await sql`
      select from pg_locks where not granted and locktype = 'relation'
        and database = (select oid from pg_database where datname = current_database())`;
    if (row !== undefined) return;
  }
}
