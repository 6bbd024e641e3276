import type { Sql } from "../../postgres/driver.ts";
import { type ProjectionDefinition, type ProjectionRelations, type ProjectionStatus, refused } from "./definition.ts";

/**
 * While a version is built, names without a schema stand for its own tables. If its code names the schema, it reads or
 * changes those of the serving version. The locks of the transaction show that, in whatever way the code got there.
 *
 * @throws {RunFailed} if the transaction has used a table of the serving version
 */
export async function refuseQualifiedNames(
  tx: Sql,
  run: Pick<ProjectionDefinition, "name"> & { readonly relations?: ProjectionRelations | undefined },
  status: ProjectionStatus,
): Promise<void> {
  const names = run.relations?.names ?? [];
  if (status !== "building" || names.length === 0) return;
  const rows = await tx<{ name: string }[]>`
    select distinct class.relname as name
    from pg_catalog.pg_locks as held
    join pg_catalog.pg_class as class on class.oid = held.relation
    where held.pid = pg_catalog.pg_backend_pid()
      and held.locktype = 'relation'
      and held.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
      and class.relnamespace = 'read_model'::regnamespace
      and class.relname in (select jsonb_array_elements_text(${JSON.stringify(names)}::text::jsonb))`;
  if (rows.length === 0) return;
  const found = rows.map(({ name }) => `read_model.${name}`).join(", ");
  throw refused(
    `the projection ${run.name} uses ${found}, which belongs to the version that serves: write the name without a schema`,
  );
}
