import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { readFingerprint } from "./fingerprint.ts";

/** The contents of a database in a comparable form, read without the code that writes archives. */
export interface DatabaseContent {
  /** Number of rows and sum of their digests, by table; independent of their order. */
  readonly tables: Readonly<Record<string, string>>;
  readonly sequences: Readonly<Record<string, string>>;
  readonly fingerprint: string;
}

/** A restore begins an epoch, and leaves out positions. */
const changedByRestore = ["event_store.log_epoch", "event_store.domain_event_global_position"];

/** Reads the contents of a database, except what a restore changes. */
export async function readContent(sql: Sql): Promise<DatabaseContent> {
  const relations = await sql<{ name: string; kind: string }[]>`
    select format('%I.%I', schemaname, tablename) as name, 'table' as kind from pg_tables
    where schemaname not in ('pg_catalog', 'information_schema')
    union all
    select format('%I.%I', schemaname, matviewname), 'table' from pg_matviews
    union all
    select format('%I.%I', schemaname, sequencename), 'sequence' from pg_sequences
    order by 1`;
  const compared = relations.filter(({ name }) => !changedByRestore.includes(name));
  const tables: Record<string, string> = {};
  const sequences: Record<string, string> = {};
  for (const { name, kind } of compared) {
    if (kind === "sequence") sequences[name] = await readSequence(sql, name);
    else tables[name] = await readRows(sql, name);
  }
  const fingerprint = await inTransaction(sql, readFingerprint);
  return { tables, sequences, fingerprint: fingerprint.hash };
}

async function readRows(sql: Sql, name: string): Promise<string> {
  const [row] = await sql.unsafe<{ content: string }[]>(`
    select count(*) || ' rows, ' || coalesce(sum(('x' || md5(row::text))::bit(60)::bigint), 0) as content from ${name} as row`);
  return row?.content ?? "";
}

async function readSequence(sql: Sql, name: string): Promise<string> {
  const [row] = await sql.unsafe<{ content: string }[]>(
    `select last_value || ' ' || is_called as content from ${name}`,
  );
  return row?.content ?? "";
}
