import { openConnection } from "../postgres/connect.ts";
import type { Sql } from "../postgres/driver.ts";
import type { ConnectionTarget } from "../postgres/target.ts";
import type { RunContext } from "../stack/stack.ts";

/** How often rows of a database were changed so far, and which database it is. To compare, not to read. */
export type RowChanges = string;

/**
 * Ends the sessions in a database, so that what they have changed is counted. Without the privilege to do so, recent
 * changes may be counted late.
 *
 * @param maintenance a session in another database
 */
export async function endSessionsToCount(maintenance: Sql, database: string): Promise<void> {
  await maintenance`
    select pg_catalog.pg_terminate_backend(pid, 1000) from pg_catalog.pg_stat_activity
    where datname = ${database} and backend_type = 'client backend'`.catch(() => {});
}

/**
 * Counts changes of rows, except those in read models, which are derived. A session reports its own when it ends, at the
 * latest, so two counts are equal only if nothing was changed before the second one and after the first.
 */
export async function readRowChanges(target: ConnectionTarget, { signal }: RunContext): Promise<RowChanges> {
  await using connection = openConnection(target, { applicationName: "cqrs-postgres reset", signal });
  const [row] = await connection.sql<{ changes: RowChanges }[]>`
    select format('%s:%s', (select oid from pg_catalog.pg_database where datname = current_database()),
      coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)) as changes
    from pg_catalog.pg_stat_all_tables
    where schemaname not in ('pg_catalog', 'pg_toast', 'information_schema', 'read_model')
      or relid = 'pg_catalog.pg_largeobject'::regclass`;
  if (row === undefined) throw new Error("unreachable: an aggregate returns one row");
  return row.changes;
}
