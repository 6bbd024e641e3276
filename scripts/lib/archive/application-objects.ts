import type { Sql } from "../postgres/driver.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import { qualified } from "./catalog.ts";

/**
 * Tables, views and sequences that the application created, such as those of projections. Ordered by oid, which is the
 * order of creation. The sequence of an identity column belongs to its table.
 */
const applicationRelations = `
  select c.oid, c.relkind, c.relpersistence, c.reloptions, c.relacl, format('%I.%I', n.nspname, c.relname) as name
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.relowner = '${groupRoles.app}'::regrole
    and c.relkind in ('r', 'v', 'm', 'S')
    and c.relpersistence <> 't'
    and not exists (
      select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype in ('i', 'e'))`;

/** The word for a relation in `create`, `drop` and `comment on`. */
const kind = `
  case relkind when 'r' then 'table' when 'S' then 'sequence' when 'v' then 'view' else 'materialized view' end`;

const options = `case when relation.reloptions is null then '' else (
  select format(' with (%s)', string_agg(format('%I = %L', option_name, option_value), ', '))
  from pg_options_to_table(relation.reloptions)) end`;

/** The options that `create sequence` and an identity column share. */
const sequenceOptions = `
  format('increment %s minvalue %s maxvalue %s start %s cache %s %s',
    seqincrement, seqmin, seqmax, seqstart, seqcache, case when seqcycle then 'cycle' else 'no cycle' end)`;

const sequences = `
  select format('create sequence %s as %s %s', name, format_type(seqtypid, null), ${sequenceOptions})
  from relation join pg_sequence on seqrelid = oid order by oid`;

const identity = `(
    select format(' generated %s as identity (sequence name %s %s)',
      case attidentity when 'a' then 'always' else 'by default' end, seqrelid::regclass, ${sequenceOptions})
    from pg_depend join pg_sequence on seqrelid = objid
    where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass
      and refobjid = attrelid and refobjsubid = attnum and deptype = 'i')`;

const defaultOf = `
  case
    when adbin is null then ''
    when attgenerated = 's' then format(' generated always as (%s) stored', pg_get_expr(adbin, adrelid))
    else format(' default %s', pg_get_expr(adbin, adrelid))
  end`;

const columns = `
  select string_agg(
    format('%I %s', attname, format_type(atttypid, atttypmod))
      || case when attcollation <> typcollation then format(' collate %s', attcollation::regcollation) else '' end
      || case when attidentity = '' then '' else ${identity} end
      || ${defaultOf}
      || case when attnotnull then ' not null' else '' end,
    ', ' order by attnum)
  from pg_attribute as a
  join pg_type as t on t.oid = atttypid
  left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where attrelid = relation.oid and attnum > 0 and not attisdropped`;

const tables = `
  select format('create %stable %s (%s)%s',
    case relpersistence when 'u' then 'unlogged ' else '' end, name, (${columns}), ${options})
  from relation where relkind = 'r' order by oid`;

/** Foreign keys come last: each needs the key that it references. */
const constraints = `
  select format('alter table %s add constraint %I %s', name, conname, pg_get_constraintdef(k.oid))
  from relation join pg_constraint as k on conrelid = relation.oid
  where contype in ('c', 'p', 'u', 'x', 'f') order by contype = 'f', k.oid`;

const views = `
  select format('create %s %s%s as %s', ${kind}, name, ${options}, rtrim(pg_get_viewdef(oid), ';'))
  from relation where relkind in ('v', 'm') order by oid`;

const indexes = `
  select pg_get_indexdef(indexrelid)
  from relation join pg_index on indrelid = oid
  where not exists (select from pg_constraint where conindid = indexrelid) order by indexrelid`;

const comments = `
  select format('comment on %s %s is %L', kind, what, description)
  from (
    select ${kind} as kind, name as what, obj_description(oid, 'pg_class') as description from relation
    union all
    select 'column', format('%s.%I', name, attname), col_description(oid, attnum)
    from relation join pg_attribute on attrelid = oid where attnum > 0
    union all
    select 'constraint', format('%I on %s', conname, name), obj_description(k.oid, 'pg_constraint')
    from relation join pg_constraint as k on conrelid = relation.oid
    union all
    select 'index', format('%I.%I', nspname, relname), obj_description(i.oid, 'pg_class')
    from relation join pg_index on indrelid = relation.oid
    join pg_class as i on i.oid = indexrelid join pg_namespace as n on n.oid = i.relnamespace
  ) as described
  where description is not null order by kind, what`;

const sequenceOwners = `
  select format('alter sequence %s owned by %s.%I', name, refobjid::regclass, attname)
  from relation
  join pg_depend on classid = 'pg_class'::regclass and objid = oid and deptype = 'a'
    and refclassid = 'pg_class'::regclass
  join pg_attribute on attrelid = refobjid and attnum = refobjsubid
  where relkind = 'S' order by oid`;

const owners = `
  select format('alter table %s owner to ${groupRoles.app}', name)
  from relation
  where not exists (
    select from pg_depend
    where classid = 'pg_class'::regclass and objid = oid and deptype = 'a' and refclassid = 'pg_class'::regclass)
  order by oid`;

const grants = `
  select format('grant %s on %s%s to %s%s', privilege_type, case relkind when 'S' then 'sequence ' else '' end, name,
    case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
    case when is_grantable then ' with grant option' else '' end)
  from relation cross join aclexplode(relacl)
  where grantee <> '${groupRoles.app}'::regrole order by oid, grantee, privilege_type`;

/**
 * Dumps the tables, views and sequences that the application created, as SQL that creates them.
 *
 * The dump does not cover everything: triggers and policies, for example, are missing. The caller detects that by
 * comparing the fingerprint of the schema with that of a schema created from the dump.
 *
 * @param tx a transaction whose search path is `pg_catalog`, so that every name is qualified
 * @returns statements, each with its semicolon; "" if the application created nothing
 */
export async function dumpApplicationObjects(tx: Sql): Promise<string> {
  const statements: string[] = [];
  for (const query of [sequences, tables, constraints, views, indexes, comments, sequenceOwners, owners, grants]) {
    const text = `with relation as (${applicationRelations}) ${query}`;
    const rows = (await tx.unsafe(text).values()) as unknown as [string][];
    statements.push(...rows.map(([statement]) => `${statement};\n`));
  }
  return statements.join("");
}

/** Drops everything that {@link dumpApplicationObjects} dumps. */
export async function dropApplicationObjects(tx: Sql): Promise<void> {
  const relations = await tx.unsafe<{ kind: string; schema: string; name: string }[]>(`
    select ${kind} as kind, nspname::text as schema, relname::text as name
    from (select oid from (${applicationRelations}) as owned) as relation
    join pg_class using (oid)
    join pg_namespace as n on n.oid = relnamespace
    order by relkind = 'S', relkind = 'r', relation.oid desc`);
  const tables = relations.filter(({ kind }) => kind === "table").map(qualified);
  for (const relation of relations.filter(({ kind }) => kind.endsWith("view"))) {
    await tx.unsafe(`drop ${relation.kind} ${qualified(relation)}`);
  }
  // In one statement, because their foreign keys may form a cycle.
  if (tables.length > 0) await tx.unsafe(`drop table ${tables.join(", ")}`);
  for (const relation of relations.filter(({ kind }) => kind === "sequence")) {
    await tx.unsafe(`drop sequence if exists ${qualified(relation)}`);
  }
}
