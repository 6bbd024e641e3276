import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { Aggregate, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import type { ProjectOptions } from "../../scripts/lib/event-store/projection/definition.ts";
import { readProjectionLag } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { partitionOf } from "../../scripts/lib/event-store/projection/pump.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { streamIdOf } from "../../scripts/lib/event-store/stream-id.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inSavepoint } from "../../scripts/lib/postgres/transaction.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";
import { eventually, readDeadLetters, runInBackground } from "../support/projection.ts";
import { recordingLogger } from "../support/recording-logger.ts";

let database: TestDatabase;
let store: EventStore;
const log = recordingLogger();
before(async () => {
  database = await withDatabase();
  store = openTestStore(database, { logger: log.logger });
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** Appends events of a type that only one test uses, each to a stream of its own. */
async function append(type: string, count: number): Promise<Aggregate[]> {
  const orders = Array.from({ length: count }, newOrder);
  for (const order of orders) await appendEvents(store, order, [{ type, data: { count: 1 } }]);
  return orders;
}

/** Handles the events of one type, with short pauses. */
function handling(type: string, handle: ProjectOptions["handle"]): ProjectOptions {
  return { name: type, version: 1, events: [type], stopWhenCaughtUp: true, retryPauseMs: 1, maxAttempts: 2, handle };
}

function warnings(name: string): string[] {
  return log.reports
    .filter(([level, message]) => level === "warn" && message.includes(`projection ${name}`))
    .map(([, message]) => message);
}

const revoked = Proxy.revocable({}, {});
revoked.revoke();
const thrown: readonly (readonly [name: string, value: unknown])[] = [
  ["undefined", undefined],
  ["null", null],
  ["an empty string", ""],
  ["zero", 0],
  ["a symbol", Symbol("no")],
  ["a frozen object", Object.freeze({ code: 42 })],
  ["an object that cannot be text", { toString: () => assert.fail("not readable") }],
  ["an object without a prototype", Object.create(null)],
  ["a revoked proxy", revoked.proxy],
  ["an error whose message and code cannot be read", unreadable()],
];

function unreadable(): Error {
  const get = () => assert.fail("not readable");
  return Object.defineProperties(new Error(), { message: { get }, code: { get }, cause: { get }, severity: { get } });
}

for (const [index, [name, value]] of thrown.entries()) {
  test(`a handler that throws ${name} has failed, and its events are handled again`, async () => {
    const type = `thrown_${index}`;
    await append(type, 3);
    const seen: number[] = [];
    let calls = 0;
    const handle = async (events: readonly RecordedEvent[]) => {
      // A handler that takes its events off the array must get them again, too.
      const taken = (events as RecordedEvent[]).splice(0);
      if (++calls === 1) return Promise.reject(value);
      seen.push(...taken.map(({ aggregateVersion }) => aggregateVersion));
    };
    assert.equal(await project(store, handling(type, handle)), "caught-up");
    assert.deepEqual([seen, await readDeadLetters(store, type)], [[1, 1, 1], []]);
    const failing = handling(`${type}_always`, () => {
      throw value;
    });
    await project(store, { ...failing, events: [type] });
    assert.deepEqual(
      (await readDeadLetters(store, `${type}_always`)).map(({ attempts }) => attempts),
      [2, 2, 2],
    );
  });
}

/** Errors that look like those of the store's server or connection, but are not. */
const foreign: Readonly<Record<string, () => Promise<unknown>>> = {
  "a refused connection": () => Promise.reject(withCode("ECONNREFUSED")),
  "a lost connection": () => Promise.reject(withCode("57P01")),
  "the idle timeout of another database": () => Promise.reject(withCode("25P03")),
  "a closed pool": () => Promise.reject(withCode("CONNECTION_ENDED")),
  "a status": () => Promise.reject(withCode("429")),
  "a conflict elsewhere": () => Promise.reject(withCode("40001")),
  "a server's error of class 42": () => Promise.reject(Object.assign(withCode("42P01"), { severity: "ERROR" })),
  "an unreachable host": () => fetch("http://127.0.0.1:1/"),
  "another session's missing table": () => store.sql`select from no_such_table`,
  "another session that ends": () => store.sql.begin(endSession),
  "an invalid append": () => appendEvents(store, { type: "Order", id: "" }, [{ type: "x", data: {} }]),
};

async function endSession(tx: Pick<Sql, "unsafe">): Promise<void> {
  const [session] = await tx.unsafe("select pg_backend_pid() as pid");
  await database.admin`select pg_terminate_backend(${session?.["pid"]}::integer)`;
  await tx.unsafe("select 1");
}

function withCode(code: string): Error {
  return Object.assign(new Error(`as from another system: ${code}`), { code });
}

for (const [index, [name, fail]] of Object.entries(foreign).entries()) {
  test(`${name} is the failure of the handler, and the run goes on`, async () => {
    const type = `foreign_${index}`;
    const [poisoned] = await append(type, 3);
    const handle = async (events: readonly RecordedEvent[]) => {
      if (events.some(({ aggregate }) => aggregate.id === poisoned?.id)) await fail();
    };
    assert.equal(await project(store, handling(type, handle)), "caught-up");
    const letters = await readDeadLetters(store, type);
    assert.deepEqual(
      letters.map(({ stream, attempts }) => [stream, attempts]),
      [[poisoned?.id, 2]],
    );
    const [retry, letter, ...others] = warnings(type);
    assert.match(retry ?? "", /attempt 1 of 2 failed/);
    assert.match(letter ?? "", /became a dead letter after 2 attempts/);
    assert.deepEqual(others, []);
  });
}

const swallowed: readonly (readonly [statement: string, cause: RegExp])[] = [
  ["insert into swallowed values (1), (1)", /duplicate key value/],
  ["select 1 / 0", /division by zero/],
  ["select 'x'::integer", /invalid input syntax/],
];

for (const [index, [statement, cause]] of swallowed.entries()) {
  test(`a handler that goes on after an error is set aside at once, with the cause: ${statement}`, async () => {
    const type = `swallowed_${index}`;
    await append(type, 1);
    const relations = {
      names: ["swallowed"],
      create: (tx: Sql) => tx`create table if not exists swallowed (id int primary key)`,
    };
    const goOn = [async () => {}, (tx: Sql) => tx`select 1`, () => Promise.reject(new Error("later"))];
    for (const [way, next] of goOn.entries()) {
      const handle: ProjectOptions["handle"] = async (_, tx) => {
        await tx.unsafe(statement).catch(() => {});
        await next(tx);
      };
      await project(store, { ...handling(`${type}_${way}`, handle), events: [type], relations, maxAttempts: 5 });
      const [letter] = await readDeadLetters(store, `${type}_${way}`);
      // What the handler threw itself may be transient.
      if (way === 2) assert.deepEqual([letter?.attempts, letter?.error], [5, "Error: later"]);
      else {
        assert.equal(letter?.attempts, 1);
        assert.match(letter?.error ?? "", cause);
        assert.match(letter?.error ?? "", /run the statement in a savepoint/);
      }
    }
    const inside: ProjectOptions["handle"] = (_, tx) =>
      tx.savepoint((savepoint) => savepoint.unsafe(statement)).catch(() => {});
    await project(store, { ...handling(`${type}_inside`, inside), events: [type], relations });
    assert.deepEqual(await readDeadLetters(store, `${type}_inside`), []);
  });
}

const upcasters: readonly (readonly [name: string, upcaster: (data: { count: number }) => unknown])[] = [
  ["throws", () => assert.fail("cannot read this one")],
  ["throws undefined", () => throwValue(undefined)],
  ["changes what it is given", (data) => throwValue(`changed ${++data.count}`)],
];

function throwValue(value: unknown): never {
  throw value;
}

for (const [index, [name, upcaster]] of upcasters.entries()) {
  test(`an upcaster that ${name} fails its event, not the run, and readers name the event`, async () => {
    const type = `upcast_${index}`;
    const [poisoned, other] = await append(type, 2);
    assert.ok(poisoned !== undefined && other !== undefined);
    await appendEvents(store, poisoned, [{ type, data: { count: 1 } }]);
    const convert = (data: { count: number }, event: RecordedEvent) =>
      event.aggregate.id === poisoned.id && event.aggregateVersion === 2 ? upcaster(data) : { count: data.count + 10 };
    await using strict = openTestStore(database, { upcasters: { [type]: { 1: convert } }, logger: false });
    const counts: unknown[] = [];
    const handle: ProjectOptions["handle"] = async (events) => void counts.push(...events.map(({ data }) => data));
    assert.equal(await project(strict, { ...handling(type, handle), maxAttempts: 3 }), "caught-up");
    const [letter, ...rest] = await readDeadLetters(store, type);
    assert.deepEqual([counts, rest], [[{ count: 11 }, { count: 11 }], []]);
    assert.deepEqual([letter?.stream, letter?.event, letter?.attempts], [poisoned.id, 2, 3]);
    const names = new RegExp(`upcaster of ${type} version 1 failed for event 2 of Order ${poisoned.id}: `);
    assert.match(letter?.error ?? "", names);
    if (index === 2) assert.match(letter?.error ?? "", /changed 2$/);
    await assert.rejects(Array.fromAsync(readStream(strict, poisoned)), names);
    await assert.rejects(Array.fromAsync(readAll(strict, { eventTypes: [type] })), names);
  });
}

/** What a handler does until its session ends. */
const idlers: Readonly<Record<string, (tx: Sql) => Promise<unknown>>> = {
  "waits for something slow": () => sleep(1_500),
  "never settles": () => new Promise(() => {}),
  "catches what its statements throw": async (tx) => {
    await sleep(1_500);
    await tx`select 1`.catch(() => {});
  },
};

for (const [index, [name, idle]] of Object.entries(idlers).entries()) {
  test(`an event whose handler ${name} beyond the lease becomes a dead letter, and others do not`, async () => {
    const type = `idle_${index}`;
    const [slow] = await append(type, 3);
    // A set: a batch that was rolled back is handled again.
    const seen = new Set<string>();
    const handle: ProjectOptions["handle"] = async (events, tx) => {
      if (events.some(({ aggregate }) => aggregate.id === slow?.id)) await idle(tx);
      await tx`select 1`;
      for (const { aggregate } of events) seen.add(aggregate.id);
    };
    assert.equal(await project(store, { ...handling(type, handle), leaseMs: 500 }), "caught-up");
    const [letter, ...rest] = await readDeadLetters(store, type);
    assert.deepEqual([letter?.stream, letter?.attempts, rest, seen.size], [slow?.id, 2, [], 2]);
    const why = new RegExp(`the projection ${type} left its transaction idle for longer than its lease \\(500 ms\\)`);
    assert.match(letter?.error ?? "", why);
    assert.ok(warnings(type).some((message) => /halving a batch of 3 events/.test(message) && why.test(message)));
  });
}

test("an event that ends the session of its handler each time becomes a dead letter", async () => {
  const [deadly] = await append("deadly", 2);
  const handle: ProjectOptions["handle"] = async (events, tx) => {
    if (events.some(({ aggregate }) => aggregate.id === deadly?.id)) await endSession(tx);
  };
  assert.equal(await project(store, { ...handling("deadly", handle), partitions: 2 }), "caught-up");
  const letters = await readDeadLetters(store, "deadly");
  assert.deepEqual(
    letters.map(({ stream }) => stream),
    [deadly?.id],
  );
  assert.match(letters[0]?.error ?? "", /the session ended each time/);
});

test("while an event waits for another attempt, other partitions and the heartbeat go on, and a signal ends it", async () => {
  const name = "waits";
  const [poisoned] = await append(name, 1);
  assert.ok(poisoned !== undefined);
  const stuck = partitionOf(streamIdOf(poisoned), 2);
  const seen: RecordedEvent[] = [];
  let calls = 0;
  const handle: ProjectOptions["handle"] = async (events) => {
    if (events.some(({ aggregate }) => aggregate.id === poisoned.id) && ++calls < 3) throw new Error("not yet");
    seen.push(...events);
  };
  const options = { ...handling(name, handle), stopWhenCaughtUp: false, partitions: 2, leaseMs: 3_000, maxAttempts: 9 };
  const run = runInBackground(store, { ...options, retryPauseMs: 120_000 });
  await eventually(() => warnings(name).length === 1);
  assert.match(warnings(name)[0] ?? "", /attempt 1 of 9 failed, the next follows in \d+\.\d s: Error: not yet$/);
  const heartbeat = async () => (await readProjectionLag(store)).find((lag) => lag.name === name)?.heartbeatAt;
  const before = await heartbeat();
  const orders = await append(name, 12);
  const isFree = (order: Aggregate) => partitionOf(streamIdOf(order), 2) !== stuck;
  await eventually(() => seen.length === orders.filter(isFree).length);
  await eventually(async () => (await heartbeat())?.getTime() !== before?.getTime());
  assert.equal(await run.stop(), "stopped");
  assert.deepEqual(await readDeadLetters(store, name), []);
  // Afterwards, the partition continues where it was, and nothing comes twice.
  await project(store, { ...options, stopWhenCaughtUp: true, retryPauseMs: 20 });
  const ids = seen.map(({ id }) => id);
  assert.deepEqual([ids.length, new Set(ids).size], [13, 13]);
});

test("the pauses between attempts grow fourfold, up to their limit", async () => {
  await append("pauses", 1);
  const handle = () => Promise.reject(new Error("no"));
  await project(store, { ...handling("pauses", handle), maxAttempts: 5, retryPauseMs: 100, maxRetryPauseMs: 500 });
  const pauses = warnings("pauses").flatMap((message) => /follows in (\S+) s/.exec(message)?.[1] ?? []);
  const limits = [0.1, 0.4, 0.5, 0.5];
  assert.equal(pauses.length, limits.length);
  for (const [index, limit] of limits.entries()) {
    const seconds = Number(pauses[index]);
    assert.ok(seconds >= limit / 2 - 0.05 && seconds <= limit + 0.05, `pause ${index}: ${seconds} s`);
  }
});

test("projections that read through the store do not wait for each other's connections", async () => {
  await append("reads", 30);
  const definition = (name: string) =>
    handling(name, async (events) => {
      for (const { aggregate } of events) for await (const _ of readStream(small, aggregate));
    });
  await using small = openTestStore(database, { maxConnections: 2, logger: false });
  const names = ["reads_1", "reads_2", "reads_3", "reads_4"];
  const runs = names.map((name) => project(small, { ...definition(name), events: ["reads"], batchSize: 5 }));
  runs.push(project(small, { ...definition("reads_parts"), events: ["reads"], partitions: 5 }));
  assert.deepEqual(await Promise.all(runs), Array(5).fill("caught-up"));
});

test("sessions that end a few times cost no attempt", async () => {
  await append("outage", 1);
  let calls = 0;
  const handle: ProjectOptions["handle"] = async (_, tx) => {
    if (++calls <= 3) await endSession(tx);
  };
  assert.equal(await project(store, { ...handling("outage", handle), maxAttempts: 1 }), "caught-up");
  assert.deepEqual([calls, await readDeadLetters(store, "outage")], [4, []]);
});

test("an error of the server that a library has wrapped is still the server's", async () => {
  await append("wrapped", 2);
  const wrap = (cause: unknown) => Promise.reject(new Error("query failed", { cause: new Error("no", { cause }) }));
  const failing = (statement: string): ProjectOptions["handle"] => {
    return (_, tx) => inSavepoint(tx, (savepoint) => savepoint.unsafe(statement)).catch(wrap);
  };
  await assert.rejects(project(store, handling("wrapped", failing("select from gone"))), { code: "42P01" });
  let conflicts = 3;
  const conflict = failing("do $$begin raise exception 'no' using errcode = '40001'; end$$");
  const handle: ProjectOptions["handle"] = async (events, tx) => {
    if (conflicts-- > 0) await conflict(events, tx);
  };
  assert.equal(await project(store, { ...handling("wrapped", handle), maxAttempts: 1 }), "caught-up");
  assert.deepEqual(await readDeadLetters(store, "wrapped"), []);
});
