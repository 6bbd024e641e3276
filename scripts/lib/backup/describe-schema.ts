import { createHash } from "node:crypto";
import { qualified, readFilledViews } from "../archive/catalog.ts";
import { readDatabaseFacts, readNeeds, readOmitted } from "../archive/database-facts.ts";
import type { Manifest } from "../archive/manifest.ts";
import type { SchemaDescription } from "../archive/write.ts";
import type { Sql } from "../postgres/driver.ts";
import { type DumpBlock, splitDump } from "../postgres/pg-dump/blocks.ts";
import type { DumpThread } from "../postgres/pg-dump/bridge.ts";
import { dumpDatabase } from "../postgres/pg-dump/dump.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { readLedger } from "../schema/ledger.ts";
import { titleOf } from "../schema/source.ts";

/** How to read a schema. */
export interface DescribeOptions {
  readonly target: ConnectionTarget;
  /** The role that reads it; the login if undefined. */
  readonly role: string | undefined;
  readonly thread: DumpThread;
  readonly signal: AbortSignal;
}

/**
 * The transaction of the backup holds locks that a table's next change waits for. If pg_dump queues behind that change,
 * neither would ever proceed.
 */
const lockTimeoutMs = 2_000;

/**
 * Describes the schema of a database as of a transaction's snapshot.
 *
 * @param tx a transaction that has locked all tables
 */
export async function describeSchema(
  tx: Sql,
  { target, ...options }: DescribeOptions,
): Promise<Omit<SchemaDescription, "base">> {
  const { server, snapshot } = await readServer(tx);
  const source = { ...options, server, snapshot, lockTimeoutMs };
  const dump = (...args: string[]) => dumpDatabase(target, { ...source, args });
  const preData = await dump("--section=pre-data");
  const postData = await dump("--section=post-data", "--schema-only");
  const blocks = [...splitDump(preData), ...splitDump(postData)];
  const applied = (await readLedger(tx))
    .filter(({ progress }) => progress === null)
    .map((entry) => ({ name: titleOf(entry), checksum: entry.checksum }));
  const databaseFacts = await readDatabaseFacts(tx, target.database);
  if (databaseFacts === undefined) throw new Error("unreachable: the current database exists");
  return {
    server,
    database: target.database,
    databaseFacts,
    preData,
    postData,
    logSchema: digestLog(blocks, applied),
    applied,
    needs: await readNeeds(tx, [...new Set(blocks.map(({ owner }) => owner))]),
    views: await readFilledViews(tx),
    omitted: await readOmitted(tx),
  };
}

async function readServer(tx: Sql): Promise<{ readonly server: number; readonly snapshot: string }> {
  const [row] = await tx<{ server: number; snapshot: string }[]>`
    select current_setting('server_version_num')::int as server, pg_catalog.pg_export_snapshot() as snapshot`;
  if (row === undefined) throw new Error("unreachable: a query without FROM returns one row");
  return row;
}

/** A migration of the product may have changed the rows of the log without changing its tables. */
function digestLog(blocks: readonly DumpBlock[], applied: Manifest["applied"]): string {
  const tables = blocks.filter(({ type, schema }) => type === "TABLE" && schema === "event_store");
  const migrations = applied.filter(({ name }) => name.startsWith("migrations/"));
  const parts = [
    ...tables.map((block) => [qualified(block), block.sql]),
    ...migrations.map(({ checksum }) => checksum),
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
