// createTestStore(): what the store of a test is, and is not.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import {
  appendEvents,
  checkpointAfter,
  type DomainEvent,
  InvalidInput,
  LogRewound,
  type ProjectionDefinition,
  readAll,
} from "../../scripts/lib/index.ts";
import { openTestStore, type TestStore } from "../../scripts/lib/testing/test-store.ts";
import { withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, orderPlaced } from "../support/event-store.ts";
import { recordingLogger } from "../support/recording-logger.ts";
import { asSuperuser, databasesLike, makeTestServerFolder, type TestServerFolder } from "../support/test-stores.ts";

let folder: TestServerFolder;
before(async () => {
  folder = await makeTestServerFolder();
});
after(() => folder[Symbol.asyncDispose]());

const open = (options: Parameters<typeof openTestStore>[1] = {}) =>
  openTestStore(folder.stackDir, { logger: false, ...options });

test("the logger hears that the server is started", async () => {
  const { logger, reports } = recordingLogger();
  await using _store = await open({ logger });
  assert.deepEqual(reports[0], ["info", `starting the test server in ${folder.stackDir}/test`, undefined]);
});

test("each store has an empty database of its own, with positions from 1, and drops it", async () => {
  const databases = [];
  for (const _ of [1, 2]) {
    await using store = await open();
    databases.push(store.database);
    const { lastPosition } = await appendEvents(store, newOrder(), [orderPlaced]);
    assert.equal(lastPosition, 1n);
  }
  assert.notEqual(databases[0], databases[1]);
  assert.deepEqual(await databasesLike(folder, "cqrs_test_"), []);
});

test("a checkpoint of another test's store is refused, as after a restore", async () => {
  await using one = await open();
  await using other = await open();
  for (const store of [one, other]) await appendEvents(store, newOrder(), [orderPlaced]);
  const [event] = await Array.fromAsync(readAll(one));
  assert.ok(event);
  await assert.rejects(Array.fromAsync(readAll(other, { after: checkpointAfter(event) })), LogRewound);
  const mismatches = await other.sql`select * from event_store.epoch_mismatch()`;
  assert.deepEqual([...mismatches], []);
});

test("the store has the login, privileges and settings of a production database", async () => {
  await using store = await open();
  await using production = await withDatabase();
  const statement = `
    select
      current_user as login, session_user as "sessionLogin", current_setting('search_path') as "searchPath",
      (select rolsuper or rolcreatedb or rolcreaterole or rolbypassrls from pg_roles where rolname = current_user) as "isMighty",
      (select pg_get_userbyid(datdba) from pg_database where datname = current_database()) as owner,
      has_database_privilege('public', current_database(), 'connect') as "isOpen",
      (select array_agg(format('%s %s', oid::regclass, relacl) order by oid::regclass::text collate "C")
        from pg_class where relnamespace in ('event_store'::regnamespace, 'read_model'::regnamespace)) as acl,
      (select array_agg(format('%s %s', oid::regprocedure, proacl) order by oid::regprocedure::text collate "C")
        from pg_proc where pronamespace = 'event_store'::regnamespace) as "routineAcl"`;
  const [[here], [there]] = await Promise.all([store.sql.unsafe(statement), production.sql.unsafe(statement)]);
  assert.deepEqual({ ...here }, { ...there });
  assert.equal(here?.["isMighty"], false);
  for (const forbidden of [
    "create database mine",
    "create role mine",
    "alter system set fsync = on",
    "delete from event_store.domain_event",
    "alter table event_store.domain_event disable trigger all",
    "select event_store.begin_epoch('mine')",
    "set role cqrs_owner",
    "drop table event_store.snapshot",
  ]) {
    await assert.rejects(store.sql.unsafe(forbidden), { code: "42501" }, forbidden);
  }
});

test("the url works for other clients, with the application's login", async () => {
  await using store = await open();
  const client = await openClient(store.url);
  try {
    const { rows } = await client.query("select current_database() as database, session_user as login");
    assert.deepEqual({ ...rows[0] }, { database: store.database, login: "cqrs_user" });
  } finally {
    await client.end();
  }
});

test("the options of connect() apply", async () => {
  type Placed = DomainEvent<"OrderPlaced", { readonly total: number; readonly currency?: string }>;
  const totals: ProjectionDefinition<Placed> = {
    name: "totals",
    version: 1,
    relations: { names: ["totals"], create: (tx) => tx`create table totals (currency text, total int)` },
    async handle(events, tx) {
      for (const { data } of events) await tx`insert into totals values (${data.currency ?? null}, ${data.total})`;
    },
  };
  const upcasters = { OrderPlaced: { 1: (data: Placed["data"]) => ({ ...data, currency: "EUR" }) } };
  const inlineProjections = [totals as ProjectionDefinition];
  await using store = await open({ upcasters, inlineProjections, applicationName: "my test", maxConnections: 2 });
  await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
  assert.deepEqual([...(await store.sql`select * from totals`)], [{ currency: "EUR", total: 42 }]);
  const [row] = await store.sql`select current_setting('application_name') as name`;
  assert.equal(row?.["name"], "my test");
});

test("options that are unknown or invalid are refused, and leave no database behind", async () => {
  const refusals: [object, RegExp][] = [
    [{ upcaster: {} }, /openEventStore\(\) has no option "upcaster"/],
    [{ upcasters: { OrderPlaced: [] } }, /upcasters of OrderPlaced is an array/],
    [{ maxConnections: 0 }, /maxConnections is 0/],
  ];
  for (const [options, message] of refusals) {
    await assert.rejects(open(options), (error: Error) => {
      assert.ok(error instanceof InvalidInput);
      assert.match(error.message, message);
      return true;
    });
  }
  assert.deepEqual(await databasesLike(folder, "cqrs_test_"), []);
});

test("disposing of a store ends sessions that other clients have left open", async () => {
  const store = await open();
  const client = await openClient(store.url);
  await client.query("begin");
  await store[Symbol.asyncDispose]();
  assert.deepEqual(await databasesLike(folder, "cqrs_test_"), []);
});

test("the server never waits for the disk, and takes many connections", async () => {
  await using _store = await open();
  const [row] = await asSuperuser(
    folder,
    (sql) => sql`
      select current_setting('fsync') as fsync, current_setting('full_page_writes') as pages,
        current_setting('synchronous_commit') as commit, current_setting('max_connections') as connections`,
  );
  assert.deepEqual({ ...row }, { fsync: "off", pages: "off", commit: "off", connections: "300" });
});

test("40 stores can be open at once in one process", async () => {
  const stores: TestStore[] = await Promise.all(Array.from({ length: 40 }, () => open()));
  try {
    const results = await Promise.all(stores.map((store) => appendEvents(store, newOrder(), [orderPlaced])));
    assert.ok(results.every(({ lastPosition }) => lastPosition === 1n));
  } finally {
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  }
  assert.deepEqual(await databasesLike(folder, "cqrs_test_"), []);
});

async function openClient(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  return client;
}
