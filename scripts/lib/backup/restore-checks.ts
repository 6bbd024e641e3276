import { readTables } from "../archive/catalog.ts";
import type { Manifest, Needs } from "../archive/manifest.ts";
import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import { inTransaction } from "../postgres/transaction.ts";
import type { LedgerEntry } from "../schema/ledger.ts";
import { describeConflict, findConflicts, planSchema } from "../schema/plan.ts";
import { readSchema } from "../schema/source.ts";

/** The database that a restore would replace. */
export interface TargetState {
  readonly exists: boolean;
  /** Whether it has no tables, or does not exist. */
  readonly isEmpty: boolean;
  /** The number of its events; null if it has no event store. */
  readonly events: number | null;
}

/**
 * Checks that this version of the project and this server can restore an archive. Whether an older server can is left to
 * it: that depends on what the schema uses.
 *
 * @throws {ScriptError} `ARCHIVE_NEWER`, `ARCHIVE_NEEDS` (exit 8), `SCHEMA_DRIFT` (exit 4)
 */
export async function checkRestorable(sql: Sql, { applied, endedAt, needs }: Manifest): Promise<void> {
  const files = await readSchema();
  const entries = ledgerOf(applied, endedAt).filter(({ source }) => source === "cqrs");
  const known = new Set(files.map(({ name }) => name));
  const unknown = entries.filter(({ name }) => !name.startsWith("routines/") && !known.has(name));
  if (unknown.length > 0) throw newer(unknown.map(({ name }) => name));
  // Throws if a migration was edited after it was archived.
  planSchema(files, entries);
  await checkNeeds(sql, needs);
}

/**
 * Compares the project's own files with those of an archive. A restore may run where the project is not at hand, so a
 * difference does not prevent that.
 *
 * @returns what `schema apply` will refuse afterwards, one phrase each
 */
export async function findProjectConflicts(sqlDir: string, { applied, endedAt }: Manifest): Promise<string[]> {
  const files = await readSchema(sqlDir, "app");
  const entries = ledgerOf(applied, endedAt).filter(({ source }) => source === "app");
  return findConflicts(files, entries).map(describeConflict);
}

function ledgerOf(applied: Manifest["applied"], endedAt: string): LedgerEntry[] {
  return applied.map(({ name, checksum }) => {
    const isOfProject = name.startsWith("app/");
    const source = isOfProject ? ("app" as const) : ("cqrs" as const);
    const own = isOfProject ? name.slice("app/".length) : name;
    return { source, name: own, checksum, appliedAt: new Date(endedAt), progress: null };
  });
}

async function checkNeeds(sql: Sql, { roles, extensions }: Needs): Promise<void> {
  const names = JSON.stringify({ roles, extensions: extensions.map(({ name }) => name) });
  const [missing] = await sql<Record<"roles" | "extensions", string[]>[]>`
    select
      (
        select coalesce(jsonb_agg(name), '[]') from jsonb_array_elements_text(${names}::text::jsonb -> 'roles') as name
        where name not in (select rolname from pg_catalog.pg_roles)
      ) as roles,
      (
        select coalesce(jsonb_agg(name), '[]') from jsonb_array_elements_text(${names}::text::jsonb -> 'extensions') as name
        where name not in (select name from pg_catalog.pg_available_extensions)
      ) as extensions`;
  if (missing === undefined || missing.roles.length + missing.extensions.length === 0) return;
  throw needed(missing.roles, missing.extensions);
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

function newer(files: readonly string[]): ScriptError {
  return new ScriptError({
    code: "ARCHIVE_NEWER",
    exitCode: exitCodes.refused,
    message: "The archive is newer than this project",
    why: `These files are missing in this project: ${files.join(", ")}.`,
    fix: "Use the version that wrote it, or a newer one.",
  });
}

function needed(roles: readonly string[], extensions: readonly string[]): ScriptError {
  const ours = Object.values<string>(groupRoles);
  const create = roles.filter((role) => !ours.includes(role)).map((role) => `create role ${quoteIdentifier(role)};`);
  const setUp = roles.some((role) => ours.includes(role))
    ? [`Run ${runLine("bootstrap")}, which creates our roles.`]
    : [];
  const install = extensions.length > 0 ? [`Install the extensions ${extensions.join(", ")} on the server.`] : [];
  return new ScriptError({
    code: "ARCHIVE_NEEDS",
    exitCode: exitCodes.refused,
    message: "The server lacks what the archive needs; nothing was changed",
    why: [
      ...(roles.length > 0 ? [`Missing roles, which own objects or have privileges: ${roles.join(", ")}.`] : []),
      ...(extensions.length > 0 ? [`Extensions that the server does not offer: ${extensions.join(", ")}.`] : []),
    ].join("\n"),
    fix: [...setUp, ...(create.length > 0 ? [`As a superuser, run: ${create.join(" ")}`] : []), ...install].join("\n"),
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
