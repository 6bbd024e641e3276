import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { isServerUnavailable } from "../postgres/failure.ts";
import { readAdministrator } from "../postgres/logins/roles.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { ensureDatabase } from "../stack/database.ts";
import { copyTemplate } from "../stack/template.ts";
import { findOrphans, nameDatabase } from "./owner.ts";
import { openServer, type TestServer } from "./test-server.ts";

/**
 * Creates a database from a template: with the owner, privileges and settings of an application's database, and an epoch
 * of its own. Its positions start at 1. The first call of a process drops what killed processes have left behind.
 *
 * @returns its name; undefined if there is no such template
 * @throws {ScriptError} `NOT_A_TEST_SERVER` (exit 8)
 */
export async function cloneTemplate(server: TestServer, template: string): Promise<string | undefined> {
  await using connection = await openServer(server);
  const { sql } = connection;
  await sweepOnce(sql, server.stack.stackDir);
  const name = nameDatabase();
  if (!(await copyTemplate(sql, template, name, "file_copy"))) return undefined;
  try {
    await ensureDatabase(sql, await readAdministrator(sql), name);
    await beginEpoch({ ...server.administrator, database: name });
    return name;
  } catch (error) {
    await dropDatabase(sql, name);
    throw error;
  }
}

/** Checkpoints of another test, which is a copy of the same log, must be refused. */
async function beginEpoch(target: ConnectionTarget): Promise<void> {
  await using connection = openConnection(target);
  await connection.sql`select event_store.begin_epoch('clone for a test', null, false)`;
}

/** Drops a test's database, with its sessions. If the server is gone, a later test sweeps it. */
export async function dropTestDatabase(server: ConnectionTarget, name: string): Promise<void> {
  await using connection = openConnection(server);
  try {
    await dropDatabase(connection.sql, name);
  } catch (error) {
    if (!isServerUnavailable(error)) throw error;
  }
}

async function dropDatabase(sql: Sql, name: string): Promise<void> {
  await sql.unsafe(`drop database if exists ${quoteIdentifier(name)} with (force)`);
}

/** A test waits for it, so that it leaves some databases to the next process if there are many. */
const sweepMs = 1_000;

/** The folders of the servers that this process has swept. */
const swept = new Set<string>();

async function sweepOnce(sql: Sql, stackDir: string): Promise<void> {
  if (swept.has(stackDir)) return;
  await sweepDatabases(sql);
  swept.add(stackDir);
}

async function sweepDatabases(sql: Sql): Promise<void> {
  const rows = await sql<{ name: string }[]>`
    select datname as name from pg_catalog.pg_database where datname like ${"cqrs\\_test\\_%"}`;
  const deadline = performance.now() + sweepMs;
  for (const name of findOrphans(rows.map((row) => row.name))) {
    if (performance.now() > deadline) return;
    await dropDatabase(sql, name);
  }
}
