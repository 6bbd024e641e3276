import type { Sql } from "../postgres/driver.ts";

/**
 * Finds out why readers of the log may have seen events that are gone, or may see events that a crash takes back.
 *
 * @returns one sentence per problem; empty also if the database has no event store
 */
export async function readLogProblems(sql: Sql): Promise<string[]> {
  return [...(await readEpochProblems(sql)), ...(await readCommitProblems(sql))];
}

/** Compares the server with the one on which the last epoch of the log began. */
export async function readEpochProblems(sql: Sql): Promise<string[]> {
  const [found] = await sql`select where to_regprocedure('event_store.epoch_mismatch()') is not null`;
  if (found === undefined) return [];
  const rows = await sql<{ fact: string; recorded: string; actual: string }[]>`
    select fact, recorded, actual from event_store.epoch_mismatch()`;
  return rows.map(
    ({ fact, recorded, actual }) =>
      `the ${fact} is ${actual}, but the log's epoch began on ${recorded}: if this is a copy or was promoted, ` +
      "begin a new epoch (event_store.begin_epoch)",
  );
}

/**
 * Finds where synchronous_commit is off: in the settings of the server, of this database and of logins. The latter are
 * stored as they were written.
 */
export async function readCommitProblems(sql: Sql): Promise<string[]> {
  const rows = await sql<{ scope: string }[]>`
    select 'of the server' as scope
    from pg_catalog.pg_settings
    where name = 'synchronous_commit' and reset_val = 'off'
      and source in ('configuration file', 'command line', 'environment variable', 'default')
    union all
    select concat_ws(' ', 'of the', 'login ' || login.rolname, case when given.setdatabase <> 0 then 'database' end)
    from pg_catalog.pg_db_role_setting as given
    left join pg_catalog.pg_database as base on base.oid = given.setdatabase
    left join pg_catalog.pg_roles as login on login.oid = given.setrole
    where exists (
        select from unnest(given.setconfig) as item
        where lower(item) in (
          'synchronous_commit=off', 'synchronous_commit=false', 'synchronous_commit=no', 'synchronous_commit=0'
        ))
      and (given.setdatabase = 0 or base.datname = current_database())
    order by 1`;
  return rows.map(
    ({ scope }) => `synchronous_commit ${scope} is off: a crash of the server may take back events that were read`,
  );
}
