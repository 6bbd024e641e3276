import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import process from "node:process";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointAfter } from "../../scripts/lib/event-store/checkpoint.ts";
import type { Logger } from "../../scripts/lib/event-store/logger.ts";
import { waitUntil } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import { openFaultProxy } from "../support/fault-proxy.ts";
import { unusedPort } from "../support/port.ts";
import {
  checkJournal,
  eventually,
  journal,
  readJournal,
  runInBackground,
  untilHandled,
} from "../support/projection.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { startProgram } from "../support/run-script.ts";
import { runtimeName } from "../support/runtime.ts";
import { inTime } from "../support/session.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

async function follow(store: EventStore, signal?: AbortSignal): Promise<number> {
  let count = 0;
  for await (const { events } of subscribe(store, signal === undefined ? {} : { signal })) count += events.length;
  return count;
}

/** The tests may not look up other hosts on Deno. */
const unknownHosts = runtimeName === "bun" ? ["no-such-host.invalid"] : [];

test("an address that never worked is an error of subscribe(), project() and appendEvents(), not silence", async () => {
  await Promise.all(["127.0.0.1", ...unknownHosts].map(assertUnreachable));
});

async function assertUnreachable(host: string): Promise<void> {
  const { logger, reports } = recordingLogger();
  await using store = openTestStore(database, { host, port: await unusedPort(), logger });
  const startedAt = performance.now();
  const calls = [follow(store), project(store, journal("unreachable")), appendEvents(store, newOrder(), [orderPlaced])];
  for (const result of await inTime(Promise.allSettled(calls))) {
    assert.equal(result.status, "rejected");
    assert.match(result.reason.code, /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN)$/);
  }
  assert.ok(performance.now() - startedAt >= 4_500, "it gave up before the server had time to start");
  const warnings = reports.filter(([level]) => level === "warn");
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]?.[1] ?? "", /^waiting for the server: .*(ECONNREFUSED|ENOTFOUND|EAI_AGAIN)/);
}

test("an outage after a success is waited out, and reported once with its end", async () => {
  const { logger, reports } = recordingLogger();
  const name = `outage-${randomUUID()}`;
  await using store = openTestStore(database, { applicationName: name, logger });
  const order = newOrder();
  await appendEvents(store, order, [orderPlaced]);
  const stop = new AbortController();
  let seen = 0;
  const following = (async () => {
    for await (const { events } of subscribe(store, { signal: stop.signal })) {
      seen += events.filter(({ aggregate }) => aggregate.id === order.id).length;
    }
  })();
  await using projection = runInBackground(store, journal("outage"));
  await eventually(async () => seen === 1 && (await isHandled(store, "outage", order.id)));

  await setConnectionLimit(0);
  try {
    await terminate(name);
    // Longer than the time after which an address that never worked is given up.
    await sleep(6_000);
  } finally {
    await setConnectionLimit(-1);
  }
  const { lastPosition } = await appendEvents(store, order, [orderPlaced]);
  await eventually(() => seen === 2);
  await untilHandled(store, "outage", lastPosition);
  await projection.stop();
  stop.abort();
  await following;
  await checkJournal(store, "outage");
  const outage = reports.filter(([, message]) => /server/.test(message) && !/retrying/.test(message));
  assert.deepEqual(
    outage.map(([level]) => level),
    ["warn", "info"],
  );
  assert.match(outage[0]?.[1] ?? "", /^lost a connection to the server: /);
  assert.match(outage[1]?.[1] ?? "", /^the server answers again, after \d+(\.\d)? s$/);
});

async function isHandled(store: EventStore, name: string, id: string): Promise<boolean> {
  const [row] = await store.sql<{ found: boolean }[]>`
    select exists (
      select from read_model.${store.sql(`journal_${name}`)} where stream_id = event_store.stream_id_of('Order', ${id})
    ) as found`.catch(() => []);
  return row?.found === true;
}

/** A limit of 0 lets nobody but superusers connect, as if the server were starting. */
async function setConnectionLimit(limit: number): Promise<void> {
  await database.admin.unsafe(`alter database ${database.name} connection limit ${limit}`);
}

async function terminate(applicationName: string): Promise<void> {
  await database.admin`
    select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${applicationName}`;
}

test("a retry of an append is reported, and a logger that throws changes nothing", async () => {
  await using proxy = await openFaultProxy(database.application.port);
  const { logger, reports } = recordingLogger();
  const throwing = () => {
    throw new Error("the log is full");
  };
  const open = (applicationName: string, own: Logger) =>
    openTestStore(database, { port: proxy.port, applicationName, logger: own });
  await using store = open("reports", logger);
  await using other = open("throws", { info: throwing, warn: throwing });
  for (const [name, one] of Object.entries({ reports: store, throws: other })) {
    await one.sql`select`;
    proxy.muteAnswers(true);
    const append = appendEvents(one, newOrder(), [orderPlaced]);
    await eventually(() => isAppending(name));
    proxy.cut();
    proxy.muteAnswers(false);
    assert.equal((await append).lastVersion, 1);
  }
  const [retry] = reports.filter(([, message]) => message.startsWith("retrying a batch of appends: "));
  assert.equal(retry?.[0], "info");
  assert.equal(retry?.[2]?.["appends"], 1);
});

/** Whether the server has received an append of a session with this name. */
async function isAppending(applicationName: string): Promise<boolean> {
  const rows = await database.admin`
    select from pg_stat_activity where application_name = ${applicationName} and query like '%append_batch%'`;
  return rows.length > 0;
}

test("waiting for a lease and losing it are reported", async () => {
  const [owner, waiter] = [recordingLogger(), recordingLogger()];
  await using ownerStore = openTestStore(database, { logger: owner.logger });
  await using waiterStore = openTestStore(database, { logger: waiter.logger });
  await using run = runInBackground(ownerStore, { ...journal("lease"), leaseMs: 6_000 });
  await eventually(async () => {
    const [row] =
      await database.sql`select from read_model.projection_version where name = 'lease' and owner is not null`;
    return row !== undefined;
  });
  await using waiting = runInBackground(waiterStore, { ...journal("lease"), leaseMs: 600 });
  await eventually(() => waiter.reports.length > 0);
  await sleep(500);
  const message = "waiting for the lease of version 1 of the projection lease: another process holds it";
  assert.deepEqual(waiter.reports, [["info", message, { projection: "lease" }]]);
  await waiting.stop();
  await database.admin`
    update read_model.projection_version set token = token + 1, owner = 'another', expires_at = 'infinity'
    where name = 'lease'`;
  await eventually(() => owner.reports.some(([level]) => level === "warn"));
  assert.deepEqual(owner.reports[0], [
    "warn",
    "another process took over version 1 of the projection lease",
    { projection: "lease" },
  ]);
  await run.stop();
});

test("if the server stops answering, signals end every call, and the store can be closed", async () => {
  await using proxy = await openFaultProxy(database.application.port);
  const store = openTestStore(database, { port: proxy.port, logger: false });
  const order = newOrder();
  const { lastPosition } = await appendEvents(store, order, [orderPlaced]);
  const stop = new AbortController();
  const { signal } = stop;
  const following = follow(store, signal);
  const projecting = project(store, { ...journal("mute"), signal });
  await eventually(() => isHandled(store, "mute", order.id));

  proxy.muteAnswers(true);
  const checkpoint = checkpointAfter({ position: lastPosition });
  const appending = appendEvents(store, order, [orderPlaced], { signal });
  const waiting = waitUntil(store, "mute", checkpoint, { signal, timeoutMs: 60_000 });
  const expiring = waitUntil(store, "mute", checkpoint, { timeoutMs: 100 });
  const ended: string[] = [];
  for (const [name, call] of Object.entries({ following, waiting, appending })) {
    const end = () => void ended.push(name);
    call.then(end, end);
  }
  await inTime(assert.rejects(expiring, /did not reach .* within 100 ms: the server does not answer/));
  stop.abort(new Error("enough"));
  await inTime(following);
  await inTime(assert.rejects(waiting, /enough/));
  await inTime(assert.rejects(appending, /enough/));
  // Only an append that was sent waits for its outcome.
  assert.equal(ended.at(-1), "appending");
  const closing = inTime(store[Symbol.asyncDispose]());
  assert.equal(await inTime(projecting), "stopped");
  await closing;
});

test("a batch that hangs when its projection is stopped does not commit later", async () => {
  const name = `frozen-${randomUUID()}`;
  await using store = openTestStore(database, { applicationName: name, logger: false });
  await appendEvents(store, newOrder(), [orderPlaced]);
  const stop = new AbortController();
  const isHandling = Promise.withResolvers<void>();
  const isFrozen = Promise.withResolvers<void>();
  let batches = 0;
  const definition = journal("frozen");
  const running = project<OrderEvent>(store, {
    ...definition,
    signal: stop.signal,
    async handle(events, tx) {
      batches++;
      isHandling.resolve();
      await isFrozen.promise;
      await definition.handle(events, tx);
    },
  });
  await isHandling.promise;
  const pids = await signalSessions(name, "SIGSTOP");
  try {
    isFrozen.resolve();
    stop.abort();
    assert.equal(await inTime(running), "stopped");
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
  // The abandoned run releases its lease when its batch has ended.
  await eventually(async () => {
    const [row] = await database.sql`select from read_model.projection_version where name = 'frozen' and owner is null`;
    return row !== undefined;
  });
  const [row] = await database.sql<{ checkpoint: bigint }[]>`
    select checkpoint from read_model.projection where name = 'frozen'`;
  assert.equal(row?.checkpoint, 0n);
  assert.deepEqual([...(await readJournal(store, "frozen"))], []);
  assert.equal(batches, 1);
  assert.equal(await project(store, { ...definition, stopWhenCaughtUp: true }), "caught-up");
  await checkJournal(store, "frozen");
});

async function signalSessions(applicationName: string, signal: NodeJS.Signals): Promise<readonly number[]> {
  const rows = await database.admin<{ pid: number }[]>`
    select pid from pg_stat_activity where application_name = ${applicationName}`;
  assert.ok(rows.length > 0);
  for (const { pid } of rows) process.kill(pid, signal);
  return rows.map(({ pid }) => pid);
}

const leavesStoreOpen = "tests/support/fixtures/leaves-store-open.ts";

test("a program that leaves its store open ends", async () => {
  const started = startProgram(leavesStoreOpen, [JSON.stringify(database.application)]);
  try {
    const { exitCode, stderr } = await inTime(started.ended);
    assert.deepEqual({ exitCode, stderr }, { exitCode: 0, stderr: "" });
  } finally {
    started.kill("SIGKILL");
  }
});

test("a running subscription keeps the program alive", async () => {
  const started = startProgram(leavesStoreOpen, [JSON.stringify(database.application), "follow"]);
  try {
    await started.saw("following");
    // It polls every 250 ms now, and nothing else happens.
    await sleep(2_000);
    const paid: OrderEvent = { type: "OrderPaid", data: { amount: 42 } };
    await using store = openTestStore(database);
    await appendEvents(store, newOrder(), [paid]);
    await inTime(started.saw("OrderPaid"));
  } finally {
    started.kill("SIGKILL");
    await started.ended;
  }
});
