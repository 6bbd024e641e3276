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
    with named as (
      select class.oid, class.relname
      from pg_catalog.pg_class as class
      where class.relnamespace = 'read_model'::regnamespace
        and class.relname in (select jsonb_array_elements_text(${JSON.stringify(names)}::text::jsonb))
    )
    select distinct named.relname as name
    from pg_catalog.pg_locks as held
    -- The sequence of an identity column belongs to its table.
    left join pg_catalog.pg_depend as owned
      on owned.classid = 'pg_catalog.pg_class'::regclass and owned.objid = held.relation
        and owned.refclassid = 'pg_catalog.pg_class'::regclass and owned.deptype in ('a', 'i')
    join named on named.oid in (held.relation, owned.refobjid)
    where held.pid = pg_catalog.pg_backend_pid()
      and held.locktype = 'relation'
      and held.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())`;
  if (rows.length === 0) return;
  const found = rows.map(({ name }) => `read_model.${name}`).join(", ");
  throw refused(
    `the projection ${run.name} uses ${found}, which belongs to the version that serves: write the name without a schema`,
  );
}
