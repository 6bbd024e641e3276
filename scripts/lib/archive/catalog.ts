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
}

/** Relations outside the system schemas, except those that belong to an extension and are created with it. */
const isUserRelation = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (
  select from pg_catalog.pg_depend
  where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e')`;

/** Lists all tables that store rows, whatever their schema and owner. */
export async function readTables(sql: Sql): Promise<CatalogTable[]> {
  return sql.unsafe<CatalogTable[]>(`
    select n.nspname::text as schema, c.relname::text as name, pg_catalog.pg_table_size(c.oid)::float8 as "sizeBytes",
      (
        select coalesce(jsonb_agg(attname order by attnum), '[]') from pg_catalog.pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = ''
      ) as columns
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't' and ${isUserRelation}
    order by n.nspname, c.relname`);
}

/**
 * Reads the state of all sequences. Sequences are not part of a snapshot. Because they are read after the snapshot was
 * taken, each is at or past every number that the snapshot contains.
 */
export async function readSequences(sql: Sql): Promise<ArchivedSequence[]> {
  const names = await sql.unsafe<QualifiedName[]>(`
    select n.nspname::text as schema, c.relname::text as name
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind = 'S' and c.relpersistence <> 't' and ${isUserRelation}
    order by n.nspname, c.relname`);
  const sequences: ArchivedSequence[] = [];
  for (const { schema, name } of names) {
    const [row] = await sql.unsafe<Pick<ArchivedSequence, "lastValue" | "isCalled">[]>(
      `select last_value::text as "lastValue", is_called as "isCalled" from ${qualified({ schema, name })}`,
    );
    if (row !== undefined) sequences.push({ schema, name, ...row });
  }
  return sequences;
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
