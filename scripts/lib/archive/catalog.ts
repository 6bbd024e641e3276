import type { Sql } from "../postgres/driver.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { ArchivedSequence } from "./manifest.ts";

/** The name of a table, view or sequence. */
export interface QualifiedName {
  readonly schema: string;
  readonly name: string;
}

/** A table whose rows are archived. */
export interface CatalogTable extends QualifiedName {
  /** Its columns, except generated ones. */
  readonly columns: readonly string[];
  /** Size on disk, to estimate the progress. */
  readonly sizeBytes: number;
  /** Which rows of an extension's table belong to the user: `WHERE …`; "" if all do. */
  readonly condition: string;
}

/**
 * Relations outside the system schemas. Those of an extension are created with it; they count only if the extension
 * declares that users store rows in them.
 */
const userRelations = `
  pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  left join (
    select unnest(extconfig) as oid, unnest(extcondition) as condition from pg_catalog.pg_extension
  ) as configured on configured.oid = c.oid
  where c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and (
    configured.oid is not null or not exists (
      select from pg_catalog.pg_depend
      where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e'))`;

/** Lists all tables that store rows, whatever their schema and owner. */
export async function readTables(sql: Sql): Promise<CatalogTable[]> {
  return sql.unsafe<CatalogTable[]>(`
    select n.nspname::text as schema, c.relname::text as name, pg_catalog.pg_table_size(c.oid)::float8 as "sizeBytes",
      coalesce(configured.condition, '') as condition,
      (
        select coalesce(jsonb_agg(attname order by attnum), '[]') from pg_catalog.pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = ''
      ) as columns
    from ${userRelations} and c.relkind = 'r'
    order by n.nspname, c.relname`);
}

/**
 * Reads the state of all sequences. Sequences are not part of a snapshot. Because they are read after the snapshot was
 * taken, each is at or past every number that the snapshot contains.
 */
export async function readSequences(sql: Sql): Promise<ArchivedSequence[]> {
  const names = await sql.unsafe<QualifiedName[]>(`
    select n.nspname::text as schema, c.relname::text as name
    from ${userRelations} and c.relkind = 'S' order by n.nspname, c.relname`);
  const sequences: ArchivedSequence[] = [];
  for (const { schema, name } of names) {
    const [row] = await sql.unsafe<Pick<ArchivedSequence, "lastValue" | "isCalled">[]>(
      `select last_value::text as "lastValue", is_called as "isCalled" from ${qualified({ schema, name })}`,
    );
    if (row !== undefined) sequences.push({ schema, name, ...row });
  }
  return sequences;
}

/** Lists the materialized views that contain rows, each after those that it reads, directly or through other views. */
export async function readFilledViews(sql: Sql): Promise<QualifiedName[]> {
  return sql.unsafe<QualifiedName[]>(`
    with recursive reads as (
      select distinct ev_class as reader, refobjid as read
      from pg_catalog.pg_rewrite as r
      join pg_catalog.pg_depend as d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
      where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> ev_class
    ), reached as (
      select oid as view, oid as relation from pg_catalog.pg_class where relkind = 'm'
      union
      select view, read from reached join reads on reader = relation
    )
    select nspname::text as schema, relname::text as name
    from (select view, count(*) as below from reached join pg_catalog.pg_class on oid = relation and relkind = 'm' group by view) as v
    join pg_catalog.pg_class as c on c.oid = view
    join pg_catalog.pg_namespace as n on n.oid = relnamespace
    where relispopulated order by below, nspname, relname`);
}

/** @returns `"schema"."name"` */
export function qualified({ schema, name }: QualifiedName): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/** @returns the columns as a list for COPY; "" if there are none */
export function columnList(columns: readonly string[]): string {
  return columns.length === 0 ? "" : `(${columns.map(quoteIdentifier).join(", ")})`;
}

/** Settings for writing rows as text and reading them back, independent of the server's defaults. */
export const copySettings = `
  set local datestyle = 'ISO, YMD';
  set local intervalstyle = 'postgres';
  set local timezone = 'UTC';
  set local extra_float_digits = 1;
  set local bytea_output = 'hex';
  set local row_security = off;
  set local statement_timeout = 0;
  set local lock_timeout = 0;
  set local idle_in_transaction_session_timeout = 0;
  set local search_path = pg_catalog`;
