import type { Sql } from "../postgres/driver.ts";
import { quoteIdentifier } from "../postgres/quote.ts";

/** Where the rows of large objects are while they are restored. */
export const loadedObjects = "pg_temp.loaded_large_object";
export const loadedPages = "pg_temp.loaded_large_object_page";

/** Large objects are read and written in pieces of this size. */
const pageBytes = 256 * 1024;
const readMode = 0x40000;

/** One row per large object: its owner, privileges and comment. */
export const selectObjects = `
  select m.oid, pg_catalog.pg_get_userbyid(lomowner) as owner, lomacl::text as acl,
    pg_catalog.obj_description(m.oid, 'pg_largeobject') as comment
  from pg_catalog.pg_largeobject_metadata as m order by m.oid`;

/** Reads through the functions for clients, because only a superuser may read the table itself. */
export const selectPages = `
  select sized.oid, page, pg_catalog.lo_get(sized.oid, page * ${pageBytes}, ${pageBytes}) as data
  from (
    select oid, fd, pg_catalog.lo_lseek64(fd, 0, 2) as size, pg_catalog.lo_close(fd) as closed
    from (select oid, pg_catalog.lo_open(oid, ${readMode}) as fd from pg_catalog.pg_largeobject_metadata offset 0) as opened
    offset 0
  ) as sized
  cross join lateral pg_catalog.generate_series(0, (size - 1) / ${pageBytes}) as page
  where size > 0`;

export async function hasLargeObjects(sql: Sql): Promise<boolean> {
  const [row] = await sql`select from pg_catalog.pg_largeobject_metadata limit 1`;
  return row !== undefined;
}

/** Creates the tables that {@link createObjects} reads. */
export async function prepareObjects(tx: Sql): Promise<void> {
  await tx
    .unsafe(`
    create temporary table loaded_large_object (oid oid, owner name, acl aclitem[], comment text) on commit drop;
    create temporary table loaded_large_object_page (oid oid, page bigint, data bytea) on commit drop`)
    .simple();
}

/**
 * Creates large objects with their old ids. Each is created by its owner, because changing the owner takes a lock for
 * each object.
 */
export async function createObjects(tx: Sql): Promise<void> {
  const [current] = await tx<{ role: string }[]>`select current_user::text as role`;
  const owned = await tx.unsafe<{ owner: string; oids: string }[]>(
    `select owner::text as owner, jsonb_agg(oid)::text as oids from ${loadedObjects} group by owner`,
  );
  for (const { owner, oids } of owned) {
    await tx.unsafe(`set local role ${quoteIdentifier(owner)}`);
    await tx`select count(pg_catalog.lo_create(value::oid)) from jsonb_array_elements_text(${oids}::text::jsonb)`;
    await tx.unsafe(`set local role ${quoteIdentifier(current?.role ?? "")}`);
  }
  await tx.unsafe(writePages);
  await tx.unsafe(grantAndComment).simple();
}

const writePages = `
  select count(written) from (
    select pg_catalog.lo_put(oid, page * ${pageBytes}::bigint, data) as written from ${loadedPages} offset 0) as written`;

const grantAndComment = `
  do $do$
  declare
    statement text;
  begin
    for statement in
      select format('grant %s on large object %s to %s%s', privilege_type, oid,
        case grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(grantee)) end,
        case when is_grantable then ' with grant option' else '' end)
      from ${loadedObjects} cross join pg_catalog.aclexplode(acl)
      where grantee <> owner::pg_catalog.text::pg_catalog.regrole
      union all
      select format('revoke %s on large object %s from %I', privilege, oid, owner)
      from ${loadedObjects} cross join unnest(array['SELECT', 'UPDATE']) as privilege
      where acl is not null and not exists (
        select from pg_catalog.aclexplode(acl)
        where grantee = owner::pg_catalog.text::pg_catalog.regrole and privilege_type = privilege)
      union all
      select format('comment on large object %s is %L', oid, comment) from ${loadedObjects} where comment is not null
    loop
      execute statement;
    end loop;
  end $do$`;
