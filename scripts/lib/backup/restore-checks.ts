import { readTables } from "../archive/catalog.ts";
import type { Manifest } from "../archive/manifest.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";
import { planSchema } from "../schema/ledger.ts";
import { readSchema } from "../schema/source.ts";
import { appliedFiles } from "./archived-schema.ts";

/** The database that a restore would replace. */
export interface TargetState {
  readonly exists: boolean;
  /** Whether it has no tables, or does not exist. */
  readonly isEmpty: boolean;
  /** The number of its events; null if it has no event store. */
  readonly events: number | null;
}

/**
 * Checks that this version of the project and this server can restore an archive.
 *
 * @throws {ScriptError} `ARCHIVE_NEWER` (exit 8), `SCHEMA_DRIFT` (exit 4)
 */
export async function checkRestorable(sql: Sql, manifest: Manifest): Promise<void> {
  const [row] = await sql<{ server: number }[]>`select current_setting('server_version_num')::int as server`;
  const server = row?.server ?? 0;
  if (Math.floor(manifest.server / 10_000) > Math.floor(server / 10_000)) {
    throw newer(`Its server_version_num is ${manifest.server}; that of this server is ${server}.`);
  }
  const files = await readSchema();
  const known = new Set(files.map(({ name }) => name));
  const archived = appliedFiles(manifest.schema);
  const unknown = archived.filter(({ name }) => !name.startsWith("routines/") && !known.has(name));
  if (unknown.length > 0)
    throw newer(`These files are missing in this project: ${unknown.map(({ name }) => name).join(", ")}.`);
  // Throws if a migration was edited after it was archived.
  planSchema(
    files,
    archived.map((entry) => ({ ...entry, appliedAt: new Date(manifest.endedAt) })),
  );
}

/**
 * Reads the state of the database that would be replaced.
 *
 * @param mustBeEmpty whether a database with tables is refused
 * @throws {ScriptError} `NOT_EMPTY` (exit 8)
 */
export async function checkTarget(sql: Sql, target: ConnectionTarget, mustBeEmpty: boolean): Promise<TargetState> {
  const [row] = await sql`select from pg_catalog.pg_database where datname = ${target.database}`;
  if (row === undefined) return { exists: false, isEmpty: true, events: null };
  await using connection = openConnection(target, { applicationName: "cqrs-postgres restore" });
  const isEmpty = (await readTables(connection.sql)).length === 0;
  if (mustBeEmpty && !isEmpty) throw notEmpty(target.database);
  return { exists: true, isEmpty, events: await countEvents(connection.sql) };
}

async function countEvents(sql: Sql): Promise<number | null> {
  const [row] = await sql`select from pg_catalog.pg_class where oid = to_regclass('event_store.domain_event')`;
  if (row === undefined) return null;
  return inTransaction(sql, async (tx) => {
    await tx.unsafe(`set local role ${groupRoles.owner}`);
    const [count] = await tx<{ events: number }[]>`select count(*)::float8 as events from event_store.domain_event`;
    return count?.events ?? null;
  });
}

function newer(why: string): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_NEWER",
    exitCode: exitCodes.refused,
    message: "The archive is newer than this project or this server",
    why,
    fix: "Use the versions that wrote it, or newer ones.",
  });
}

function notEmpty(database: string): ScriptError {
  return new ScriptError({
    code: "NOT_EMPTY",
    exitCode: exitCodes.refused,
    message: `The database ${database} is not empty`,
    why: "A restore with --into needs a new or empty database; this one has tables.",
    fix: "Pass another name: --into <name>.",
  });
}
