import { ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import { errorCode } from "../postgres/failure.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { SessionTarget } from "../postgres/target.ts";
import { administratorTarget, type Stack } from "../stack/stack.ts";

/** A database that is deleted with its server. */
export interface DoomedDatabase {
  readonly name: string;
  readonly sizeBytes: number;
  /** Null if it has no event store, or they could not be counted. */
  readonly streams: number | null;
  readonly events: number | null;
  /** Why they could not be counted; null if they were, or there is no event store. */
  readonly uncounted: string | null;
}

/** The databases of a server, and the sums of what they hold. */
export interface DatabaseCounts {
  /** Null if the server cannot be asked. */
  readonly databases: readonly DoomedDatabase[] | null;
  /** Null if a database could not be counted. */
  readonly streams: number | null;
  readonly events: number | null;
  /** Why they could not be counted; null if they were. */
  readonly uncounted: string | null;
}

type Counts = Pick<DoomedDatabase, "streams" | "events" | "uncounted">;

/** A table that another session has locked is reported rather than waited for. */
const lockTimeout = "2s";

/** Counts the streams and events of every database of a stack's server, not only of its own one. */
export async function countDatabases(stack: Stack): Promise<DatabaseCounts> {
  try {
    const databases = await readDatabases(await administratorTarget(stack));
    const uncounted = databases.find((database) => database.uncounted !== null);
    if (uncounted !== undefined) {
      return { databases, streams: null, events: null, uncounted: `${uncounted.name}: ${uncounted.uncounted}` };
    }
    return { databases, streams: sum(databases, "streams"), events: sum(databases, "events"), uncounted: null };
  } catch (error) {
    return { databases: null, streams: null, events: null, uncounted: explainUncounted(error) };
  }
}

/** Leaves out the databases that every server has, unless someone has created tables there. */
async function readDatabases(target: SessionTarget): Promise<DoomedDatabase[]> {
  await using connection = await connectForMaintenance(target, { applicationName: "cqrs-postgres destroy" });
  const rows = await connection.sql<{ name: string; sizeBytes: number; isOpen: boolean }[]>`
    select
      datname::text as name,
      pg_catalog.pg_database_size(oid)::float8 as "sizeBytes",
      datallowconn as "isOpen"
    from pg_catalog.pg_database
    where not datistemplate
    order by datname <> ${target.database}, datname`;
  const databases: DoomedDatabase[] = [];
  for (const { name, sizeBytes, isOpen } of rows) {
    const found = isOpen ? await countRows({ ...target, database: name }) : notCounted("it accepts no connections");
    if (found !== undefined) databases.push({ name, sizeBytes, ...found });
  }
  return databases;
}

/** @returns undefined for the server's own database without tables */
async function countRows(target: SessionTarget): Promise<Counts | undefined> {
  try {
    await using connection = openConnection(target, { applicationName: "cqrs-postgres destroy" });
    const { sql } = connection;
    await sql`select set_config('lock_timeout', ${lockTimeout}, false)`;
    const [tables] = await sql<{ hasStore: boolean; count: number }[]>`
      select
        to_regclass('event_store.event_stream') is not null and to_regclass('event_store.domain_event') is not null
          as "hasStore",
        (select count(*)::int from pg_catalog.pg_class where oid >= 16384 and relkind in ('r', 'p', 'm')) as count`;
    if (tables?.hasStore !== true) {
      const isOwn = target.database === "postgres" && tables?.count === 0;
      return isOwn ? undefined : { streams: null, events: null, uncounted: null };
    }
    const [row] = await sql<{ streams: number; events: number }[]>`
      select
        (select count(*)::float8 from event_store.event_stream) as streams,
        (select count(*)::float8 from event_store.domain_event) as events`;
    return { streams: row?.streams ?? null, events: row?.events ?? null, uncounted: null };
  } catch (error) {
    return notCounted(explainUncounted(error));
  }
}

function notCounted(uncounted: string): Counts {
  return { streams: null, events: null, uncounted };
}

function sum(databases: readonly DoomedDatabase[], key: "streams" | "events"): number {
  return databases.reduce((total, database) => total + (database[key] ?? 0), 0);
}

/** Shows no message of the driver, which may contain credentials. */
function explainUncounted(error: unknown): string {
  if (!(error instanceof ScriptError)) return `the database cannot be read (${errorCode(error) || "unknown error"})`;
  return error.code === "NOT_RUNNING" ? "the server is stopped" : error.message;
}
