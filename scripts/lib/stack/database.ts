import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { retryRace } from "../postgres/logins/retry-race.ts";
import { type Administrator, explainPrivilegeError, groupRoles } from "../postgres/logins/roles.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import { inTransaction } from "../postgres/transaction.ts";

/** The application's search path; objects that it creates without a schema go to the first one. */
export const searchPath = "command_model, read_model, event_store, public";

/** The settings of a new database, as the server stores them. */
export const defaultSettings: readonly string[] = [`search_path=${searchPath}`];

interface DatabaseRow {
  readonly owner: string;
  readonly isOpenToPublic: boolean;
  readonly isOpenToApp: boolean;
  readonly settings: readonly string[];
}

/**
 * Ensures that the database exists and has the right owner, search path and privileges. A restore calls this for the
 * new database, because renaming a database transfers none of them.
 *
 * @param sql a session in any database of the server, with a login that can create databases
 * @returns the changes, one phrase each
 * @throws {ScriptError} `PRIVILEGES` (exit 9)
 */
export async function ensureDatabase(sql: Sql, administrator: Administrator, name: string): Promise<string[]> {
  try {
    const isNew = await createDatabase(sql, name);
    const isRepaired = await retryRace(() => repairDatabase(sql, administrator, name));
    if (isNew) return [`created database ${name}`];
    return isRepaired ? [`repaired database ${name}`] : [];
  } catch (error) {
    throw explainPrivilegeError(error, administrator);
  }
}

/** @returns the statements that {@link ensureDatabase} would run for an existing database */
export async function findDatabaseProblems(sql: Sql, name: string): Promise<string[]> {
  return findRepairs(await readDatabase(sql, name), quoteIdentifier(name));
}

async function createDatabase(sql: Sql, name: string): Promise<boolean> {
  const [row] = await sql`select from pg_catalog.pg_database where datname = ${name}`;
  if (row !== undefined) return false;
  try {
    await sql.unsafe(
      `create database ${quoteIdentifier(name)} with owner ${groupRoles.owner} template template0 encoding 'UTF8'`,
    );
    return true;
  } catch (error) {
    const isCreatedConcurrently = ["42P04", "23505"].includes(errorCode(error));
    if (!isCreatedConcurrently) throw error;
    return false;
  }
}

async function repairDatabase(sql: Sql, administrator: Administrator, name: string): Promise<boolean> {
  const row = await readDatabase(sql, name);
  const repairs = findRepairs(row, quoteIdentifier(name));
  if (repairs.length > 0) await runAsOwner(sql, administrator, row, repairs);
  return repairs.length > 0;
}

async function readDatabase(sql: Sql, name: string): Promise<DatabaseRow> {
  const [row] = await sql<DatabaseRow[]>`
    select
      pg_catalog.pg_get_userbyid(datdba)::text as owner,
      pg_catalog.has_database_privilege('public', oid, 'CONNECT, TEMPORARY, CREATE') as "isOpenToPublic",
      pg_catalog.has_database_privilege(${groupRoles.app}::name, oid, 'CONNECT')
        and pg_catalog.has_database_privilege(${groupRoles.app}::name, oid, 'TEMPORARY') as "isOpenToApp",
      coalesce((select setconfig from pg_catalog.pg_db_role_setting where setdatabase = oid and setrole = 0), '{}')
        as settings
    from pg_catalog.pg_database where datname = ${name}`;
  if (row === undefined) throw new Error(`the database ${name} was dropped while it was being set up`);
  return row;
}

function findRepairs(row: DatabaseRow, name: string): string[] {
  const repairs: string[] = [];
  if (row.isOpenToPublic) repairs.push(`revoke all on database ${name} from public`);
  if (row.isOpenToPublic || !row.isOpenToApp) {
    repairs.push(`grant connect, temporary on database ${name} to ${groupRoles.app}`);
  }
  if (!defaultSettings.every((setting) => row.settings.includes(setting))) {
    repairs.push(`alter database ${name} set search_path = ${searchPath}`);
  }
  if (row.owner !== groupRoles.owner) repairs.push(`alter database ${name} owner to ${groupRoles.owner}`);
  return repairs;
}

async function runAsOwner(
  sql: Sql,
  administrator: Administrator,
  row: DatabaseRow,
  repairs: readonly string[],
): Promise<void> {
  await inTransaction(sql, async (tx) => {
    const mustSwitch = !administrator.isSuperuser && row.owner === groupRoles.owner;
    if (mustSwitch) await tx.unsafe(`set local role ${groupRoles.owner}`);
    for (const repair of repairs) await tx.unsafe(repair);
  });
}
