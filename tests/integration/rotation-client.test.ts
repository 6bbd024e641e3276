import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../../scripts/lib/cli/script-error.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { checkLogin } from "../../scripts/lib/postgres/logins/login.ts";
import type { Credentials } from "../../scripts/lib/postgres/target.ts";
import type { Rotation } from "../../scripts/lib/stack/rotate.ts";
import type { TlsMode } from "../../scripts/lib/tls-mode.ts";
import { newOrder, orderPlaced } from "../support/event-store.ts";
import { rotateTestStack } from "../support/logins.ts";
import { unusedPort } from "../support/port.ts";
import { testRounds } from "../support/runtime.ts";
import { type TestStack, withCluster } from "../support/stack.ts";

let stack: TestStack;
before(async () => {
  stack = await withCluster();
});
after(() => stack[Symbol.asyncDispose]());

const writers = 16;
const shortGraceMs = 5000;

test("16 connections that append continuously see no failed append during rotations", async () => {
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
  await using admin = openConnection(await stack.administrator());
  const [row] = await admin.sql<{ stored: number }[]>`
    select count(*)::int as stored from event_store.domain_event where event_type = 'OrderPlaced'`;
  assert.equal(
    row?.stored,
    counts.reduce((sum, count) => sum + count, 0),
    "each append was acknowledged once",
  );
});

test("a pool opened before a rotation logs in with the new name afterwards, after the old login has expired", async () => {
  await using store = await openStore(2);
  const old = await stack.application();
  await using gate = openConnection(await stack.administrator());
  await gate.sql`select pg_advisory_lock(7)`;
  const kept = store.sql<{ name: string }[]>`select session_user::text as name from pg_advisory_lock(7)`.execute();
  await waits(old.user);
  const { login } = await rotate(0);
  await assert.rejects(checkLogin(old), { code: "AUTHENTICATION" });
  const { lastVersion } = await appendEvents(store, newOrder(), [orderPlaced]);
  assert.deepEqual([await loginOf(store), lastVersion], [login, 1]);
  await gate.sql`select pg_advisory_unlock(7)`;
  assert.equal((await kept)[0]?.name, old.user, "the open connection stays open");
});

test("a subscription started after a rotation reads and listens with the new login", async () => {
  await using store = await openStore(2);
  const { login } = await rotate(0);
  const stop = new AbortController();
  const { streamId } = await appendEvents(store, newOrder(), [orderPlaced]);
  for await (const { events } of subscribe(store, { signal: stop.signal })) {
    if (events.some((event) => event.streamId === streamId)) break;
  }
  stop.abort();
  await using admin = openConnection(await stack.administrator());
  const sessions = await admin.sql<{ login: string; isListener: boolean }[]>`
    select usename::text as login, query ilike 'listen %' as "isListener" from pg_stat_activity
    where application_name = 'cqrs-postgres' and pid <> pg_backend_pid()`;
  assert.ok(sessions.some(({ isListener }) => isListener));
  assert.deepEqual([...new Set(sessions.map((session) => session.login))], [login]);
});

test("connections opened during the switch never mix one login's name with the other's password", async () => {
  await rotate(60_000);
  const logins = await bothLogins();
  for (let round = 0; round < testRounds(3); round++) {
    let calls = 0;
    const credentials = async () => {
      await sleep(Math.random() * 5);
      return logins[calls++ % 2] as Credentials;
    };
    const target = { ...(await stack.application()), password: undefined };
    await using pool = openConnection(target, { max: 12, credentials });
    const names = await Promise.all(
      Array.from({ length: 24 }, async () => {
        const [row] = await pool.sql<{ name: string }[]>`select session_user::text as name, pg_sleep(0.02)`;
        return row?.name;
      }),
    );
    assert.deepEqual([...new Set(names)].toSorted(), logins.map(({ user }) => user).toSorted());
  }
});

test("unreadable credentials fail the query with the reason, and the pool recovers when they are readable", async () => {
  const { user, password, ...target } = await stack.application();
  let isReadable = false;
  const credentials = () => {
    if (isReadable) return { user, password };
    throw new ScriptError({ code: "VAULT_SEALED", exitCode: exitCodes.notReady, message: "The store is sealed" });
  };
  await using pool = openConnection({ ...target, user, password: undefined }, { max: 2, credentials });
  for (let call = 0; call < 5; call++) {
    await assert.rejects(async () => await pool.sql`select 1`, {
      code: "VAULT_SEALED",
      message: "The store is sealed",
    });
  }
  isReadable = true;
  assert.equal((await pool.sql`select 1`).length, 1);
});

test("an unreachable server fails the query with the reason, and the pool recovers when it is reachable", async () => {
  const { user, password, ...target } = await stack.application();
  const port = await unusedPort();
  const credentials = () => ({ user, password });
  await using pool = openConnection({ ...target, port, user, password: undefined }, { max: 2, credentials });
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

test("a pool with changing credentials honours its TLS mode, and rejects a certificate that it cannot verify", {
  skip: spawnSync("openssl", ["version"]).status === 0 ? false : "openssl is not installed",
}, async () => {
  await switchTlsOn();
  const { user = "", password = "", ...target } = await stack.administrator();
  const credentials = () => ({ user, password });
  const isEncrypted = async (tls: TlsMode) => {
    await using pool = openConnection({ ...target, user, password: undefined, tls }, { max: 2, credentials });
    const [row] = await pool.sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
    return row?.ssl;
  };
  assert.deepEqual([await isEncrypted("disable"), await isEncrypted("prefer")], [false, true]);
  assert.equal(await isEncrypted("require"), true);
  await assert.rejects(isEncrypted("verify-full"));
});

/** Enables TLS with a self-signed certificate. */
async function switchTlsOn(): Promise<void> {
  const files = ["-keyout", join(stack.dataDir, "server.key"), "-out", join(stack.dataDir, "server.crt")];
  const { status } = spawnSync("openssl", [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-subj",
    "/CN=db",
    ...files,
  ]);
  assert.equal(status, 0);
  await using admin = openConnection(await stack.administrator());
  await admin.sql`alter system set ssl = on`;
  await admin.sql`select pg_reload_conf()`;
  while ((await admin.sql`show ssl`)[0]?.["ssl"] !== "on") await sleep(20);
}

async function openStore(maxConnections: number): Promise<EventStore> {
  const { user, password: _, ...target } = await stack.application();
  return openEventStore({ ...target, user, maxConnections, credentials: readCredentials });
}

/** Like `connect()` of the package for each new connection. */
async function readCredentials(): Promise<Credentials> {
  return stack.application();
}

async function appendOn(store: EventStore, signal: AbortSignal): Promise<number> {
  let count = 0;
  for (; !signal.aborted; count++) await appendOnce(store);
  return count;
}

/** Nothing retries here: a single refused login fails the append. */
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

/** Waits until a session of this login waits for a lock. */
async function waits(login: string): Promise<void> {
  await using admin = openConnection(await stack.administrator());
  for (;;) {
    const rows = await admin.sql`select from pg_stat_activity where usename = ${login} and wait_event = 'advisory'`;
    if (rows.length > 0) return;
  }
}

/** Both logins of the pair, while both are valid. */
async function bothLogins(): Promise<readonly Credentials[]> {
  const first = await stack.application();
  await rotate(60_000);
  return [first, await stack.application()];
}

function rotate(graceMs: number, endGrace = true): Promise<Rotation> {
  return rotateTestStack(stack, { graceMs, endGrace });
}

/** Rotates as soon as the previous grace period is over. */
async function rotateAfterGrace(): Promise<Rotation> {
  for (;;) {
    try {
      return await rotate(shortGraceMs, false);
    } catch (error) {
      if (!(error instanceof ScriptError) || error.code !== "IN_GRACE") throw error;
      await sleep(50);
    }
  }
}
