// An archive of one version of PostgreSQL, restored on others.
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createBackup } from "../../scripts/lib/backup/create.ts";
import { restoreArchive } from "../../scripts/lib/backup/restore.ts";
import type { OrderEvent } from "../../scripts/lib/demo/events.ts";
import { orderSummary } from "../../scripts/lib/demo/order-summary.ts";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import type { Stack } from "../../scripts/lib/stack/stack.ts";
import { restoreDefaults } from "../support/archive.ts";
import type { TestDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";
import { compareDumps, dumpNatively, whyNoNativeDump } from "../support/native-dump.ts";
import { objectCases } from "../support/object-cases.ts";
import { runInBackground, untilHandled } from "../support/projection.ts";
import { failure } from "../support/schema-folder.ts";
import { type LaterServer, whyUnavailable, withLaterServer } from "../support/server-version.ts";
import { bootstrapTestStack, openTestStack, silentRun, type TestStack, withCluster } from "../support/stack.ts";

const reason = whyUnavailable(17) ?? whyUnavailable(18) ?? whyNoNativeDump();
const skip = reason ?? false;

/** A server that archives are made on and restored on. */
interface Server {
  readonly administrator: ConnectionTarget;
  readonly application: TestDatabase["application"];
  stack(): Promise<Stack>;
}

let oldest: TestStack;
let sixteen: Server;
let seventeen: LaterServer;
let eighteen: LaterServer;
let folder: string;
before(async () => {
  if (reason !== undefined) return;
  [oldest, seventeen, eighteen] = [await withCluster(), await withLaterServer(17), await withLaterServer(18)];
  sixteen = {
    administrator: await oldest.administrator(),
    application: await oldest.application(),
    stack: () => openTestStack(oldest.stackDir),
  };
  folder = await mkdtemp(join(tmpdir(), "cqrs-archives-"));
  for (const { administrator } of [sixteen, seventeen, eighteen]) await createRole(administrator);
  await createObjects(sixteen.administrator);
  // Undoes some of it, so that later runs have no reason to change anything.
  await bootstrapTestStack(oldest.stackDir);
  await projectSome(sixteen, 5);
});
after(async () => {
  if (reason !== undefined) return;
  for (const server of [oldest, seventeen, eighteen]) await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** A restore begins an epoch, and leaves out positions. */
const changedByRestore = ["SEQUENCE SET event_store.domain_event_global_position", "TABLE DATA event_store.log_epoch"];

test("everything moves from 16 to 17 and from there to 18, and the application goes on", { skip }, async () => {
  await move(sixteen, seventeen);
  assert.deepEqual(await differences(sixteen, seventeen), [...ownerKeepsMaintain, ...changedByRestore]);
  assert.deepEqual(await seventeen.bootstrap(), []);
  await projectSome(seventeen, 3);
  await move(seventeen, eighteen);
  assert.deepEqual(await differences(seventeen, eighteen), changedByRestore);
  assert.deepEqual(await eighteen.bootstrap(), []);
  await projectSome(eighteen, 2);
  assert.equal(await countOrders(eighteen), 10);
});

test("everything moves from 16 to 18 at once", { skip }, async () => {
  await move(sixteen, eighteen);
  assert.deepEqual(await differences(sixteen, eighteen), [...ownerKeepsMaintain, ...changedByRestore]);
  assert.deepEqual(await eighteen.bootstrap(), []);
  await projectSome(eighteen, 1);
  assert.equal(await countOrders(eighteen), 6);
});

test("what only 18 has, and a user's rows in a table of an extension, are restored on 18", { skip }, async () => {
  await using administrator = openConnection(eighteen.administrator);
  const { sql } = administrator;
  await offerExtension(eighteen.administrator);
  await sql.unsafe(onlyIn18).simple();
  const earlier = dumpNatively(18, eighteen.administrator);
  await move(eighteen, eighteen);
  assert.deepEqual(compareDumps(earlier, dumpNatively(18, eighteen.administrator)), changedByRestore);
  const rows = await sql`select name from public.cfg_setting order by name`;
  assert.deepEqual(
    rows.map((row) => row["name"]),
    ["mine", "theirs"],
  );
  await sql.unsafe("drop schema late cascade; drop extension cfg").simple();
});

const onlyIn18 = `
  create extension cfg schema public;
  insert into public.cfg_setting values ('mine', false);
  create extension btree_gist schema public;
  create schema late;
  create table late.t (a integer not null, b integer generated always as (a * 2) virtual,
    constraint c check (a > 0) not enforced, n integer, m integer constraint named not null no inherit);
  insert into late.t (a, n, m) values (-1, null, 1);
  alter table late.t add constraint nn not null n not valid;
  create table late.temporal (id integer, at daterange, primary key (id, at without overlaps));
  create table late.refers (id integer, at daterange, foreign key (id, period at) references late.temporal (id, period at))`;

/** Installs an extension with a table in which users store rows of their own. */
async function offerExtension(target: ConnectionTarget): Promise<void> {
  const path = join(folder, "offered");
  await mkdir(join(path, "extension"), { recursive: true });
  await chmod(folder, 0o755);
  await writeFile(join(path, "extension/cfg.control"), "default_version = '1.0'\nrelocatable = true\n");
  const script = `
    create table cfg_setting (name text, is_theirs boolean);
    insert into cfg_setting values ('theirs', true);
    select pg_catalog.pg_extension_config_dump('cfg_setting', 'where not is_theirs')`;
  await writeFile(join(path, "extension/cfg--1.0.sql"), script);
  await using administrator = openConnection({ ...target, database: "postgres" });
  await administrator.sql.unsafe(`alter system set extension_control_path = '$system:${path}'`);
  await administrator.sql`select pg_reload_conf()`;
}

test("an archive of 18 is restored on 16, unless its schema needs 18: then the server's words are shown", {
  skip,
}, async () => {
  await using administrator = openConnection(eighteen.administrator);
  // Its owner has MAINTAIN, but not all privileges.
  await administrator.sql`drop table if exists x.rev`;
  await move(eighteen, sixteen);
  await projectSome(sixteen, 1);
  await administrator.sql`create table public.virtual (a integer, b integer generated always as (a * 2) virtual)`;
  const error = await failure(move(eighteen, sixteen));
  assert.deepEqual([error.code, error.exitCode], ["RESTORE_FAILED", 11]);
  assert.equal(error.message, "PostgreSQL cannot restore TABLE public.virtual");
  assert.match(error.why ?? "", /syntax error/);
});

/** 17 has the privilege MAINTAIN, which a revocation in 16 could not name. */
const ownerKeepsMaintain = ["ACL x.TABLE rev"];

async function move(from: Server, to: Server): Promise<void> {
  await createBackup(await from.stack(), { to: folder, onProgress: undefined }, silentRun);
  const { notRefreshed } = await restoreArchive(await to.stack(), { ...restoreDefaults, from: folder }, silentRun);
  assert.deepEqual(notRefreshed, []);
}

async function differences(one: Server, other: Server): Promise<string[]> {
  return compareDumps(dumpNatively(18, one.administrator), dumpNatively(18, other.administrator));
}

async function createRole(target: ConnectionTarget): Promise<void> {
  await using administrator = openConnection({ ...target, database: "postgres" });
  await administrator.sql`create role reporter`;
}

async function createObjects(target: ConnectionTarget): Promise<void> {
  await using administrator = openConnection(target);
  await administrator.sql`create schema x`;
  for (const [, sql] of objectCases) {
    const text = sql.replaceAll("$db$", quoteIdentifier(target.database));
    await administrator.sql.unsafe(`begin; set local search_path = public; ${text}; reset role; commit`).simple();
  }
}

/** Appends orders and runs the example projection until it has caught up. */
async function projectSome({ application }: Server, orders: number): Promise<void> {
  await using store = openTestStore({ application } as TestDatabase);
  await using run = runInBackground(store, orderSummary);
  const placed: OrderEvent = { type: "OrderPlaced", data: { customerId: newOrder().id, totalCents: 4_200 } };
  let position = 0n;
  for (let index = 0; index < orders; index++) {
    ({ lastPosition: position } = await appendEvents(store, newOrder(), [placed]));
  }
  await untilHandled(store, orderSummary.name, position);
  await run.stop();
}

async function countOrders({ application }: Server): Promise<number> {
  await using connection = openConnection(application);
  const [row] = await connection.sql`select count(*)::int as count from read_model.order_summary`;
  return Number(row?.["count"]);
}
