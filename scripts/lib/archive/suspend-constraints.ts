import type { Sql } from "../postgres/driver.ts";
import { errorCode } from "../postgres/failure.ts";
import { quoteIdentifier, quoteLiteral } from "../postgres/quote.ts";
import { inSavepoint } from "../postgres/transaction.ts";
import { type CatalogTable, qualified } from "./catalog.ts";

interface SuspendedObject {
  readonly drop: string;
  readonly create: string;
  readonly comment: string | null;
}

interface Trigger {
  readonly relation: string;
  readonly name: string;
  readonly enabled: "O" | "A" | "R" | "D";
}

const enable = { O: "enable", A: "enable always", R: "enable replica" } as const;
const dependentObjects = "2BP01";

/**
 * Drops keys, indexes and foreign keys, and disables the tables' own triggers. They slow down a load, or reject rows
 * that arrive in the wrong order. Creating them again once all rows are loaded is faster. Keeps check constraints.
 *
 * @param tx the transaction of the load, so that no other session sees the tables without their constraints
 * @returns a function that creates everything again, which validates the foreign keys
 */
export async function suspendConstraints(tx: Sql, tables: readonly CatalogTable[]): Promise<() => Promise<void>> {
  const relations = tables.map(qualified);
  const dropped: SuspendedObject[] = [];
  for (const object of [...(await readConstraints(tx, relations)), ...(await readIndexes(tx, relations))]) {
    if (await tryToDrop(tx, object)) dropped.unshift(object);
  }
  const triggers = await readTriggers(tx, relations);
  for (const relation of relations) await tx.unsafe(`alter table ${relation} disable trigger user`);
  return async function restoreConstraints() {
    for (const { create, comment } of dropped) {
      await tx.unsafe(create);
      if (comment !== null) await tx.unsafe(comment);
    }
    for (const { relation, name, enabled } of triggers) {
      if (enabled === "D") continue;
      await tx.unsafe(`alter table ${relation} ${enable[enabled]} trigger ${quoteIdentifier(name)}`);
    }
  };
}

/** @returns false for a primary key that a view depends on, which is kept */
async function tryToDrop(tx: Sql, object: SuspendedObject): Promise<boolean> {
  try {
    await inSavepoint(tx, async (savepoint) => savepoint.unsafe(object.drop));
    return true;
  } catch (error) {
    if (errorCode(error) === dependentObjects) return false;
    throw error;
  }
}

/** Foreign keys come first, because they depend on the other keys. Skips what a partition inherits from its parent. */
async function readConstraints(tx: Sql, relations: readonly string[]): Promise<SuspendedObject[]> {
  const rows = await tx<{ relation: string; name: string; definition: string; text: string | null }[]>`
    select format('%I.%I', n.nspname, c.relname) as relation, k.conname::text as name,
      pg_catalog.pg_get_constraintdef(k.oid) as definition, pg_catalog.obj_description(k.oid, 'pg_constraint') as text
    from pg_catalog.pg_constraint as k
    join pg_catalog.pg_class as c on c.oid = k.conrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    left join pg_catalog.pg_index as i on i.indexrelid = k.conindid and k.contype <> 'f'
    where k.conparentid = 0 and c.oid in (${oids(tx, relations)})
      and (k.contype = 'f' or (k.contype in ('p', 'u', 'x') and not c.relispartition
        and not i.indisclustered and not i.indisreplident))
    order by k.contype <> 'f', k.oid`;
  return rows.map(({ relation, name, definition, text }) => ({
    drop: `alter table ${relation} drop constraint ${quoteIdentifier(name)}`,
    create: `alter table ${relation} add constraint ${quoteIdentifier(name)} ${definition}`,
    comment:
      text === null ? null : `comment on constraint ${quoteIdentifier(name)} on ${relation} is ${quoteLiteral(text)}`,
  }));
}

async function readIndexes(tx: Sql, relations: readonly string[]): Promise<SuspendedObject[]> {
  const rows = await tx<{ index: string; definition: string; text: string | null }[]>`
    select format('%I.%I', n.nspname, c.relname) as index, pg_catalog.pg_get_indexdef(c.oid) as definition,
      pg_catalog.obj_description(c.oid, 'pg_class') as text
    from pg_catalog.pg_index as i
    join pg_catalog.pg_class as c on c.oid = i.indexrelid
    join pg_catalog.pg_class as t on t.oid = i.indrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where i.indrelid in (${oids(tx, relations)}) and not t.relispartition
      and not i.indisclustered and not i.indisreplident
      and not exists (select from pg_catalog.pg_constraint where conindid = i.indexrelid)
    order by c.oid`;
  return rows.map(({ index, definition, text }) => ({
    drop: `drop index ${index}`,
    create: definition,
    comment: text === null ? null : `comment on index ${index} is ${quoteLiteral(text)}`,
  }));
}

async function readTriggers(tx: Sql, relations: readonly string[]): Promise<Trigger[]> {
  return tx<Trigger[]>`
    select format('%I.%I', n.nspname, c.relname) as relation, t.tgname::text as name, t.tgenabled::text as enabled
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_class as c on c.oid = t.tgrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where not t.tgisinternal and t.tgrelid in (${oids(tx, relations)})`;
}

/** Passes the names as JSON, because the driver does not know the array type. */
function oids(tx: Sql, relations: readonly string[]) {
  return tx`select value::regclass from jsonb_array_elements_text(${JSON.stringify(relations)}::text::jsonb)`;
}
