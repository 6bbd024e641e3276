// What an interrupted statement without a transaction has left: nothing, all of it, or an object that is not valid.
import type { AlterTableStmt, DropStmt, IndexStmt, Node, RangeVar, ReindexStmt } from "libpg-query";
import type { Sql } from "../postgres/driver.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import type { ParsedStatement } from "./statements.ts";

/**
 * Whether a statement that may have been run before was in fact completed.
 *
 * @param sql the session that would run it, whose search path counts
 */
export async function isCompleted(sql: Sql, { node }: ParsedStatement): Promise<boolean> {
  if ("IndexStmt" in node) return (await findIndex(sql, node.IndexStmt as IndexStmt))?.isValid === true;
  if ("DropStmt" in node) return await areDropped(sql, node.DropStmt as DropStmt);
  const detached = detachedPartition(node);
  return detached !== undefined && (await readDetachment(sql, detached)) === "complete";
}

/** Drops the invalid indexes that an interrupted statement has left, and completes a detachment. */
export async function clearRemains(sql: Sql, { node }: ParsedStatement): Promise<void> {
  if ("IndexStmt" in node) {
    const index = await findIndex(sql, node.IndexStmt as IndexStmt);
    if (index?.isValid === false) await dropIndex(sql, index.name);
  }
  if ("ReindexStmt" in node) {
    for (const name of await findRebuilt(sql, node.ReindexStmt as ReindexStmt)) await dropIndex(sql, name);
  }
}

/** @returns the statement that completes an interrupted one; undefined if it is simply run again */
export async function findCompletion(sql: Sql, statement: ParsedStatement): Promise<string | undefined> {
  const detached = detachedPartition(statement.node);
  if (detached === undefined || (await readDetachment(sql, detached)) !== "pending") return undefined;
  return `alter table ${detached.table} detach partition ${detached.partition} finalize`;
}

interface Index {
  readonly name: string;
  readonly isValid: boolean;
}

async function findIndex(sql: Sql, { idxname, relation }: IndexStmt): Promise<Index | undefined> {
  if (idxname === undefined || relation === undefined) return undefined;
  const [row] = await sql<Index[]>`
    select format('%I.%I', nspname, relname) as name, indisvalid as "isValid"
    from pg_catalog.pg_index
    join pg_catalog.pg_class on pg_class.oid = indexrelid
    join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where indrelid = to_regclass(${nameOf(relation)}) and relname = ${idxname}`;
  return row;
}

/** PostgreSQL builds the new indexes beside the old ones, with these endings. */
async function findRebuilt(sql: Sql, { relation }: ReindexStmt): Promise<string[]> {
  if (relation === undefined) return [];
  const rows = await sql<{ name: string }[]>`
    select format('%I.%I', nspname, pg_class.relname) as name
    from pg_catalog.pg_index
    join pg_catalog.pg_class on pg_class.oid = indexrelid
    join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where not indisvalid and pg_class.relname ~ '_cc(new|old)[0-9]*$'
      and indrelid in (
        select coalesce(indrelid, pg_class.oid)
        from pg_catalog.pg_class left join pg_catalog.pg_index on indexrelid = pg_class.oid
        where pg_class.oid = to_regclass(${nameOf(relation)})
      )`;
  return rows.map(({ name }) => name);
}

async function dropIndex(sql: Sql, name: string): Promise<void> {
  await sql.unsafe(`drop index concurrently if exists ${name}`);
}

async function areDropped(sql: Sql, { objects = [] }: DropStmt): Promise<boolean> {
  for (const object of objects) {
    const [row] = await sql<{ exists: boolean }[]>`select to_regclass(${listedName(object)}) is not null as exists`;
    if (row?.exists === true) return false;
  }
  return true;
}

function listedName(object: Node): string {
  const { List: { items = [] } = {} } = object as { readonly List?: { readonly items?: readonly Node[] } };
  return items.map((item) => quoteIdentifier((item as { String: { sval: string } }).String.sval)).join(".");
}

interface Detached {
  readonly table: string;
  readonly partition: string;
}

function detachedPartition(node: Node): Detached | undefined {
  const { relation, cmds = [] } = ("AlterTableStmt" in node ? node.AlterTableStmt : {}) as AlterTableStmt;
  for (const command of cmds) {
    const { subtype, def } = (command as { AlterTableCmd: { subtype?: string; def?: Node } }).AlterTableCmd;
    const { name } = ((def ?? {}) as { PartitionCmd?: { name?: RangeVar } }).PartitionCmd ?? {};
    if (subtype === "AT_DetachPartition" && relation !== undefined && name !== undefined)
      return { table: nameOf(relation), partition: nameOf(name) };
  }
  return undefined;
}

async function readDetachment(sql: Sql, { table, partition }: Detached): Promise<"attached" | "pending" | "complete"> {
  const [row] = await sql<{ isPending: boolean }[]>`
    select inhdetachpending as "isPending" from pg_catalog.pg_inherits
    where inhparent = to_regclass(${table}) and inhrelid = to_regclass(${partition})`;
  if (row === undefined) return "complete";
  return row.isPending ? "pending" : "attached";
}

function nameOf({ schemaname, relname }: RangeVar): string {
  const names = schemaname === undefined ? [relname as string] : [schemaname, relname as string];
  return names.map(quoteIdentifier).join(".");
}
