import assert from "node:assert/strict";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { loadConfig } from "../../scripts/lib/config.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/connection.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import type { Credentials } from "../../scripts/lib/postgres/changing-login.ts";
import { connect } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/login.ts";
import { type Rotation, rotateLogin } from "../../scripts/lib/stack/rotate.ts";
import { newOrder, orderPlaced } from "../support/event-store.ts";
import { unusedPort } from "../support/port.ts";
import { testRounds } from "../support/runtime.ts";
import { silentRun, type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

const writers = 16;
const graceMs = 1000;

test("16 connections that append without pause see no failed append while the credentials are rotated", async () => {
  const stop = new AbortController();
  const store = await openStore(writers);
  const kept = Array.from({ length: writers / 2 }, () => appendOn(store, stop.signal));
  const renewed = Array.from({ length: writers / 2 }, () => appendOnNewConnections(stop.signal));
  const logins = new Set<string>();
  for (let rotation = 0; rotation < testRounds(2); rotation++) {
    logins.add((await rotateAfterGrace()).login);
  }
  stop.abort();
  const counts = await Promise.all([...kept, ...renewed]);
  await store[Symbol.asyncDispose]();
  assert.equal(logins.size, 2);
  for (const count of counts) assert.ok(count > 0, `${counts}`);
  await using admin = connect(await stack.administrator());
  const [row] = await admin.sql<{ stored: number }[]>`
    select count(*)::int as stored from event_store.domain_event where event_type = 'OrderPlaced'`;
  assert.equal(
    row?.stored,
    counts.reduce((sum, count) => sum + count, 0),
    "each append was acknowledged once",
  );
});

test("a pool that was made before a rotation logs in by the new name afterwards, though the old one has ended", async () => {
  await using store = await openStore(2);
  const old = await stack.application();
  assert.deepEqual([await loginOf(store)], [old.user]);
  const { login } = await rotate(0);
  await assert.rejects(checkLogin(old), { code: "AUTHENTICATION" });
  assert.equal(await loginOf(store), old.user, "the open connection goes on");
  await endSessions(old.user);
  const { lastVersion } = await appendEvents(store, newOrder(), [orderPlaced]);
  assert.deepEqual([await loginOf(store), lastVersion], [login, 1]);
});

test("a subscription goes on under the new name when its connections are ended", async () => {
  await using store = await openStore(2);
  const order = newOrder();
  const stop = new AbortController();
  const batches = subscribe(store, { signal: stop.signal, aggregateTypes: [order.type] });
  await batches.next();
  const { login, previous } = await rotate(0);
  await endSessions(previous);
  const { streamId } = await appendEvents(store, order, [orderPlaced]);
  for await (const { events } of batches) if (events.some((event) => event.streamId === streamId)) break;
  stop.abort();
  assert.equal(await loginOf(store), login);
});

test("connections that are made at the moment of the switch each use a name with its own password", async () => {
  await rotate(60_000);
  const logins = await bothLogins();
  for (let round = 0; round < testRounds(3); round++) {
    let calls = 0;
    const credentials = async () => {
      await sleep(Math.random() * 5);
      return logins[calls++ % 2] as Credentials;
    };
    const target = { ...(await stack.application()), password: undefined };
    await using pool = connect(target, { max: 12, credentials });
    const names = await Promise.all(
      Array.from({ length: 24 }, async () => {
        const [row] = await pool.sql<{ name: string }[]>`select session_user::text as name, pg_sleep(0.02)`;
        return row?.name;
      }),
    );
    assert.deepEqual([...new Set(names)].toSorted(), logins.map(({ user }) => user).toSorted());
  }
});

test("credentials that can't be read fail the query with the reason, and the pool goes on when they can", async () => {
  const { user, password, ...target } = await stack.application();
  let isReadable = false;
  const credentials = () => {
    if (isReadable) return { user, password };
    throw new ScriptError({ code: "VAULT_SEALED", exitCode: exitCodes.notReady, message: "The store is sealed" });
  };
  await using pool = connect({ ...target, user, password: undefined }, { max: 2, credentials });
  for (let call = 0; call < 5; call++) {
    await assert.rejects(async () => await pool.sql`select 1`, {
      code: "VAULT_SEALED",
      message: "The store is sealed",
    });
  }
  isReadable = true;
  assert.equal((await pool.sql`select 1`).length, 1);
});

test("a server that is not there yet fails the query with the reason, and the pool goes on when it is", async () => {
  const { user, password, ...target } = await stack.application();
  const port = await unusedPort();
  const credentials = () => ({ user, password });
  await using pool = connect({ ...target, port, user, password: undefined }, { max: 2, credentials });
  for (let call = 0; call < 5; call++) {
    await assert.rejects(async () => await pool.sql`select 1`, { code: "ECONNREFUSED" });
  }
  const forwarder = createServer((client) => {
    const server = createConnection(target.port, target.host);
    client.pipe(server).pipe(client);
    for (const socket of [client, server]) socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => forwarder.listen(port, target.host, resolve));
  assert.equal((await pool.sql`select 1`).length, 1);
  forwarder.close();
});

async function openStore(maxConnections: number): Promise<EventStore> {
  const { user, password: _, ...target } = await stack.application();
  return openEventStore({ ...target, user, maxConnections, credentials: readCredentials });
}

/** What `connect()` of the package does at each new connection. */
async function readCredentials(): Promise<Credentials> {
  return stack.application();
}

async function appendOn(store: EventStore, signal: AbortSignal): Promise<number> {
  let count = 0;
  for (; !signal.aborted; count++) await appendOnce(store);
  return count;
}

/** No client retries here: one refused login would be a failed append. */
async function appendOnNewConnections(signal: AbortSignal): Promise<number> {
  let count = 0;
  while (!signal.aborted) {
    await using store = await openStore(1);
    for (let call = 0; call < 5; call++, count++) await appendOnce(store);
  }
  return count;
}

async function appendOnce({ sql }: Pick<EventStore, "sql">): Promise<void> {
  const event = sql.json({ event_type: "OrderPlaced", event_data: { total: 42 } });
  await sql`select event_store.append_events('Order', gen_random_uuid(), 0, array[${event}]::jsonb[])`;
}

async function loginOf({ sql }: Pick<EventStore, "sql">): Promise<string> {
  const [row] = await sql<{ name: string }[]>`select session_user::text as name`;
  return row?.name ?? "";
}

async function endSessions(login: string): Promise<void> {
  await using admin = connect(await stack.administrator());
  await admin.sql`select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = ${login}`;
}

/** Both logins of the pair, at a moment at which both are good. */
async function bothLogins(): Promise<readonly Credentials[]> {
  const first = await stack.application();
  await rotate(60_000);
  return [first, await stack.application()];
}

function rotate(grace: number, endsGrace = true): Promise<Rotation> {
  const sources = { environment: { CQRS_STACK_DIR: stack.stackDir }, dotEnvFile: join(stack.stackDir, "no.env") };
  return rotateLogin(loadConfig({ grace: `${grace}ms` }, sources), silentRun, { endsGrace });
}

/** Rotates as soon as the rotation before lets it. */
async function rotateAfterGrace(): Promise<Rotation> {
  for (;;) {
    try {
      return await rotate(graceMs, false);
    } catch (error) {
      if (!(error instanceof ScriptError) || error.code !== "IN_GRACE") throw error;
      await sleep(50);
    }
  }
}
