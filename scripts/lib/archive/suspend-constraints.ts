import type { Sql } from "../postgres/connect.ts";
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
 * Takes away what only slows a load down or would refuse rows that come in any order: keys, indexes and foreign keys,
 * which are made again over all rows at once, and the tables' own triggers. Check constraints stay.
 *
 * @param tx the transaction of the load: what is away is away for nobody else
 * @returns puts everything back; foreign keys are validated by that
 */
export async function suspendConstraints(tx: Sql, tables: readonly CatalogTable[]): Promise<() => Promise<void>> {
  const relations = tables.map(qualified);
  const parts: SuspendedObject[] = [];
  for (const part of [...(await readConstraints(tx, relations)), ...(await readIndexes(tx, relations))]) {
    if (await drop(tx, part)) parts.unshift(part);
  }
  const triggers = await readTriggers(tx, relations);
  for (const relation of relations) await tx.unsafe(`alter table ${relation} disable trigger user`);
  return async () => {
    for (const { create, comment } of parts) {
      await tx.unsafe(create);
      if (comment !== null) await tx.unsafe(comment);
    }
    for (const { relation, name, enabled } of triggers) {
      if (enabled === "D") continue;
      await tx.unsafe(`alter table ${relation} ${enable[enabled]} trigger ${quoteIdentifier(name)}`);
    }
  };
}

/** A view may depend on a primary key; then the key stays. */
async function drop(tx: Sql, part: SuspendedObject): Promise<boolean> {
  try {
    await inSavepoint(tx, async (savepoint) => savepoint.unsafe(part.drop));
    return true;
  } catch (error) {
    if (errorCode(error) === dependentObjects) return false;
    throw error;
  }
}

/** Foreign keys first, as they depend on the other keys; a partition has those of its parent. */
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

/** The driver knows no array types here; JSON it does. */
function oids(tx: Sql, relations: readonly string[]) {
  return tx`select value::regclass from jsonb_array_elements_text(${JSON.stringify(relations)}::text::jsonb)`;
}
