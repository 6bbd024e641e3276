import { ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import { errorCode } from "../postgres/failure.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { connectForMaintenance } from "../postgres/maintenance.ts";
import type { SessionTarget } from "../postgres/target.ts";
import { administratorTarget, type RunContext, type Stack, waitLimit } from "../stack/stack.ts";

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
const applicationName = "cqrs-postgres destroy";

/**
 * Counts the streams and events of every database of a stack's server, not only of its own one.
 *
 * @throws the reason of the run's signal
 */
export async function countDatabases(stack: Stack, run: RunContext): Promise<DatabaseCounts> {
  try {
    const databases = await readDatabases(await administratorTarget(stack), { ...run, ...waitLimit(stack, run) });
    const uncounted = databases.find((database) => database.uncounted !== null);
    if (uncounted !== undefined) {
      return { databases, streams: null, events: null, uncounted: `${uncounted.name}: ${uncounted.uncounted}` };
    }
    return { databases, streams: sum(databases, "streams"), events: sum(databases, "events"), uncounted: null };
  } catch (error) {
    run.signal.throwIfAborted();
    return { databases: null, streams: null, events: null, uncounted: explainUncounted(error) };
  }
}

type CountRun = RunContext & { readonly timeoutMs: number };

/** Leaves out the databases that every server has, unless someone has created tables there. */
async function readDatabases(target: SessionTarget, run: CountRun): Promise<DoomedDatabase[]> {
  await using connection = await connectForMaintenance(target, { applicationName, signal: run.signal });
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
    const own = { ...target, database: name };
    const found = isOpen ? await countRows(own, run) : notCounted("it accepts no connections");
    if (found !== undefined) databases.push({ name, sizeBytes, ...found });
  }
  return databases;
}

/** @returns undefined for the server's own database without tables */
async function countRows(target: SessionTarget, run: CountRun): Promise<Counts | undefined> {
  try {
    const { hasStore, tables } = await readTables(target, run);
    if (hasStore) return await countEvents(target, run);
    const isOwn = target.database === "postgres" && tables === 0;
    return isOwn ? undefined : { streams: null, events: null, uncounted: null };
  } catch (error) {
    run.signal.throwIfAborted();
    return notCounted(explainUncounted(error));
  }
}

/** Only our own tables count: the owner of another database may have made views of the same names. */
async function readTables(target: SessionTarget, { signal }: CountRun) {
  await using connection = openConnection(target, { applicationName, signal });
  const [row] = await connection.sql<{ hasStore: boolean; tables: number }[]>`
    select
      count(*) filter (where relkind in ('r', 'p', 'm') and pg_class.oid >= 16384)::int as tables,
      count(*) filter (
        where nspname = 'event_store' and relname in ('event_stream', 'domain_event')
          and relkind = 'r' and relowner = to_regrole(${groupRoles.owner})
      ) = 2 as "hasStore"
    from pg_catalog.pg_class
    join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace`;
  return row ?? { hasStore: false, tables: 0 };
}

/**
 * Counts as the owner of the tables, and expands no view: what is called so when it is counted may not be what was
 * found before.
 */
async function countEvents(target: SessionTarget, { reporter, signal, timeoutMs }: CountRun): Promise<Counts> {
  reporter.info(`counting the events of ${target.database}`);
  await using connection = openConnection(target, { applicationName, signal, role: groupRoles.owner });
  const { sql } = connection;
  await sql`
    select set_config('lock_timeout', ${lockTimeout}, false), set_config('statement_timeout', ${`${timeoutMs}`}, false)`;
  // Older minor versions do not have this setting.
  await sql`
    select set_config(name, 'view, foreign-table', false)
    from pg_catalog.pg_settings where name = 'restrict_nonsystem_relation_kind'`;
  const [row] = await sql<{ streams: number; events: number }[]>`
    select
      (select count(*)::float8 from event_store.event_stream) as streams,
      (select count(*)::float8 from event_store.domain_event) as events`;
  return { streams: row?.streams ?? null, events: row?.events ?? null, uncounted: null };
}

function notCounted(uncounted: string): Counts {
  return { streams: null, events: null, uncounted };
}

function sum(databases: readonly DoomedDatabase[], key: "streams" | "events"): number {
  return databases.reduce((total, database) => total + (database[key] ?? 0), 0);
}

/** Shows no message of the driver, which may contain credentials. */
function explainUncounted(error: unknown): string {
  if (errorCode(error) === "57014") return "counting them took longer than --timeout";
  if (!(error instanceof ScriptError)) return `the database cannot be read (${errorCode(error) || "unknown error"})`;
  return error.code === "NOT_RUNNING" ? "the server is stopped" : error.message;
}
