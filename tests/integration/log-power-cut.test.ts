// Power cuts at chosen moments: which positions they take back, and which readers notice.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { checkpointAfter, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { LogRewound } from "../../scripts/lib/event-store/errors.ts";
import type { Checkpoint, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import type { LogFilter } from "../../scripts/lib/event-store/read-log.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { append, placed } from "../support/append.ts";
import { cloneDatabase, type DatabaseClone } from "../support/clone-database.ts";
import { withTransaction } from "../support/database.ts";
import { cutPower, holdFlushes } from "../support/power-cut.ts";
import { type SimplerAnswer, simplifyHorizon } from "../support/simpler-horizon.ts";
import { type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

/** A reader that keeps an answer of safe_position() outside the database. */
interface Scenario {
  readonly name: string;
  readonly answer: SimplerAnswer;
  readonly stored: number;
  readonly readHorizon: (sql: Sql) => Promise<bigint>;
}

const scenarios: readonly Scenario[] = [
  { name: "the last position drawn", answer: "drawn", stored: 1, readHorizon: safePosition },
  { name: "the least of all, on an empty log", answer: "least", stored: 0, readHorizon: safePosition },
  { name: "the least of all, beside the reader's own event", answer: "least", stored: 0, readHorizon: besideOwnEvent },
];

async function safePosition(sql: Sql): Promise<bigint> {
  const [row] = await sql<{ position: bigint }[]>`select event_store.safe_position() as position`;
  return row?.position ?? -1n;
}

async function besideOwnEvent(sql: Sql): Promise<bigint> {
  let position = -1n;
  await withTransaction(sql, async (tx) => {
    await append(tx, {});
    position = await safePosition(tx);
  });
  return position;
}

test("a power cut takes back positions that simpler forms of safe_position() promise, and none that it promises", async () => {
  const forms = scenarios.flatMap((scenario) => [
    { scenario, isSimpler: true },
    { scenario, isSimpler: false },
  ]);
  const cases = await Promise.all(forms.map(async (form) => ({ ...form, ...(await prepare(form)) })));
  const checkpoints: bigint[] = [];
  await withFlushesHeld(async () => {
    for (const { application, scenario } of cases) {
      await using reader = openConnection(application);
      await withTransaction(reader.sql, async (tx) => void (await append(tx, {})));
      checkpoints.push(await scenario.readHorizon(reader.sql));
    }
    await cutPower(stack);
  });
  for (const [index, { application, scenario, isSimpler }] of cases.entries()) {
    const { name, stored } = scenario;
    await using reader = openConnection(application);
    await append(reader.sql, {});
    const drawn = BigInt(stored) + 1n;
    assert.deepEqual(await readPositions(reader.sql, BigInt(stored)), [drawn], "the position is drawn a second time");
    const [checkpoint, expected] = isSimpler ? [drawn, []] : [BigInt(stored), [drawn]];
    assert.equal(checkpoints[index], checkpoint, name);
    assert.deepEqual(await readPositions(reader.sql, checkpoint), expected, name);
  }
});

async function prepare({ scenario, isSimpler }: { scenario: Scenario; isSimpler: boolean }): Promise<DatabaseClone> {
  const clone = await cloneDatabase(stack);
  await using admin = openConnection(clone.administrator);
  if (isSimpler) await simplifyHorizon(admin.sql, scenario.answer);
  if (scenario.stored > 0) await append(admin.sql, { events: Array(scenario.stored).fill(placed) });
  return clone;
}

async function withFlushesHeld(work: () => Promise<void>): Promise<void> {
  await using admin = openConnection(await stack.administrator());
  await using _hold = await holdFlushes(admin.sql);
  await work();
}

async function readPositions(sql: Sql, after: bigint): Promise<bigint[]> {
  const rows = await sql<{ position: bigint }[]>`
    select global_position as position from event_store.read_all(${after}, null)`;
  return rows.map(({ position }) => position);
}

/** Reads the next events in one of the ways that the package offers. */
interface Follower {
  readonly name: string;
  readonly read: (store: EventStore, after: Checkpoint) => Promise<Followed>;
}

interface Followed {
  readonly positions: readonly bigint[];
  readonly checkpoint: Checkpoint;
}

const followers: readonly Follower[] = [
  { name: "readAll()", read: readToEnd({}) },
  { name: "readAll() of a type", read: readToEnd({ eventTypes: ["OrderPlaced"] }) },
  { name: "subscribe()", read: subscribeOnce({}) },
  { name: "subscribe() to a type", read: subscribeOnce({ aggregateTypes: ["Order"] }) },
];

function readToEnd(filter: LogFilter): Follower["read"] {
  return async (store, after) => {
    const events = await Array.fromAsync(readAll(store, { ...filter, after }));
    return {
      positions: events.map(({ position }) => position),
      checkpoint: checkpointAfter(events.at(-1) as RecordedEvent),
    };
  };
}

function subscribeOnce(filter: LogFilter): Follower["read"] {
  return async (store, after) => {
    for await (const batch of subscribe(store, { ...filter, after, signal: AbortSignal.timeout(60_000) })) {
      return { positions: batch.events.map(({ position }) => position), checkpoint: batch.checkpoint };
    }
    throw new Error("nothing arrived");
  };
}

test("readers of events that a power cut has lost notice it, even after others took the positions", async () => {
  const { application } = await cloneDatabase(stack);
  await using writer = openConnection(application);
  await append(writer.sql, {});
  const kept = await readEach(application, logStart);
  const ahead: Followed[] = [];
  let lostId = "";
  await withFlushesHeld(async () => {
    await writer.sql`set synchronous_commit = off`.simple();
    for (let count = 0; count < 2; count++) await append(writer.sql, {});
    ahead.push(...(await readEach(application, logStart)));
    lostId = (await readIds(writer.sql)).at(-1) ?? "";
    await cutPower(stack);
  });
  assert.equal((await readIds(writer.sql)).length, 1, "the power cut must lose events, or this test shows nothing");
  assert.deepEqual(new Set(kept.map(({ positions }) => positions.join())), new Set(["1"]));
  assert.deepEqual(new Set(ahead.map(({ positions }) => positions.join())), new Set(["1,2,3"]));
  await assertNoticed(application, ahead);
  await assert.rejects(readPositions(writer.sql, 3n), { code: "UE008" });

  await append(writer.sql, { events: [placed, placed, placed, placed] });
  await assertNoticed(application, ahead);
  assert.deepEqual(await readPositions(writer.sql, 3n), [4n, 5n], "a position alone cannot notice it");
  await assert.rejects(writer.sql`select event_store.check_checkpoint(3, ${lostId})`, { code: "UE008" });
  for (const [index, { name, read }] of followers.entries()) {
    await using store = openEventStore({ ...application, logger: false });
    const { positions } = await read(store, kept[index]?.checkpoint ?? logStart);
    assert.deepEqual(positions, [2n, 3n, 4n, 5n], name);
  }
});

async function readEach(target: DatabaseClone["application"], after: Checkpoint): Promise<Followed[]> {
  await using store = openEventStore({ ...target, logger: false });
  return await Promise.all(followers.map(({ read }) => read(store, after)));
}

async function readIds(sql: Sql): Promise<string[]> {
  const rows = await sql<
    { id: string }[]
  >`select event_id as id from event_store.domain_event order by global_position`;
  return rows.map(({ id }) => id);
}

async function assertNoticed(target: DatabaseClone["application"], ahead: readonly Followed[]): Promise<void> {
  await using store = openEventStore({ ...target, logger: false });
  for (const [index, { name, read }] of followers.entries()) {
    await assert.rejects(read(store, ahead[index]?.checkpoint ?? logStart), (error) => {
      assert.ok(error instanceof LogRewound, `${name}: ${error}`);
      const { code, position, branch } = error;
      assert.deepEqual({ code, position, branch }, { code: "UE008", position: 3n, branch: null });
      return true;
    });
  }
}

test("a subscription that has fetched lost events ahead does not go on with the events that replaced them", async () => {
  const { application } = await cloneDatabase(stack);
  await using writer = openConnection(application);
  await append(writer.sql, { events: Array(4).fill(placed) });
  // With one connection, a statement waits for the fetches before it.
  await using store = openEventStore({ ...application, maxConnections: 1, logger: false });
  const batches = subscribe(store, { batchSize: 4, signal: AbortSignal.timeout(60_000) });
  const delivered: bigint[] = [];
  await withFlushesHeld(async () => {
    await writer.sql`set synchronous_commit = off`.simple();
    await append(writer.sql, { events: Array(5).fill(placed) });
    const { value: first } = await batches.next();
    delivered.push(...(first?.events ?? []).map(({ position }) => position));
    await store.sql`select`;
    await cutPower(stack);
  });
  await append(writer.sql, { events: Array(6).fill(placed) });
  const goOn = async () => {
    for await (const { events } of batches) delivered.push(...events.map(({ position }) => position));
  };
  await assert.rejects(goOn(), LogRewound);
  assert.deepEqual(delivered, [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n]);
});

test("a lost event is not noticed if the one at the checkpoint, with a higher position, was committed before it", async () => {
  const { application } = await cloneDatabase(stack);
  await using writer = openConnection(application);
  await using other = openConnection(application);
  const session = await writer.sql.reserve();
  await session`set synchronous_commit = off`.simple();
  await session`begin`.simple();
  await append(session, {});
  let seen: Followed | undefined;
  await withFlushesHeld(async () => {
    // This commit is flushed, the one after it is not.
    await append(other.sql, {});
    await session`commit`.simple();
    seen = (await readEach(application, logStart))[0];
    await cutPower(stack);
  });
  session.release();
  await append(other.sql, {});
  const stored = await readPositions(other.sql, 0n);
  assert.deepEqual([seen?.positions, stored[0], stored.length], [[1n, 2n], 2n, 2]);
  // Its position is not drawn again, so the reader misses nothing. But it has seen an event that does not exist.
  assert.deepEqual((await readEach(application, seen?.checkpoint ?? logStart))[0]?.positions, stored.slice(1));
});
