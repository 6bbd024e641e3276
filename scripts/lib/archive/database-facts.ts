import type { Sql } from "../postgres/driver.ts";
import { passingLogins } from "../postgres/logins/roles.ts";
import { quoteIdentifier, quoteLiteral } from "../postgres/quote.ts";
import type { DatabaseFacts, Needs } from "./manifest.ts";

/** Reads what belongs to a database itself rather than to its contents. */
export async function readDatabaseFacts(sql: Sql, database: string): Promise<DatabaseFacts | undefined> {
  const [row] = await sql<DatabaseFacts[]>`
    select
      pg_catalog.shobj_description(d.oid, 'pg_database') as comment,
      d.datconnlimit as "connectionLimit",
      jsonb_build_object(
        'provider', d.datlocprovider,
        'collate', d.datcollate,
        'ctype', d.datctype,
        'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
        'rules', d.daticurules
      ) as locale,
      (
        select coalesce(jsonb_agg(jsonb_build_object('role', r.rolname, 'settings', s.setconfig) order by r.rolname), '[]')
        from pg_catalog.pg_db_role_setting as s left join pg_catalog.pg_roles as r on r.oid = s.setrole
        where s.setdatabase = d.oid
      ) as settings,
      (
        select coalesce(jsonb_agg(jsonb_build_object(
            'grantee', r.rolname, 'privilege', a.privilege_type, 'isGrantable', a.is_grantable)
          order by r.rolname, a.privilege_type), '[]')
        from pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) as a
        left join pg_catalog.pg_roles as r on r.oid = a.grantee
        where a.grantee <> d.datdba and (r.rolname is null or r.rolname !~ ${passingLogins})
      ) as grants
    from pg_catalog.pg_database as d where d.datname = ${database}`;
  return row;
}

/**
 * Reads which roles and extensions a restore needs. Roles that own or were granted something are recorded in the catalog,
 * except the one that initdb created.
 *
 * @param owners owners that the dump names
 */
export async function readNeeds(sql: Sql, owners: readonly string[]): Promise<Needs> {
  const [row] = await sql<Needs[]>`
    select
      (
        select jsonb_agg(rolname order by rolname) from pg_catalog.pg_roles
        where rolname !~ ${passingLogins} and (rolname in (select jsonb_array_elements_text(${JSON.stringify(owners)}::text::jsonb)::name)
          or oid in (
            select refobjid from pg_catalog.pg_shdepend
            where refclassid = 'pg_catalog.pg_authid'::regclass and (dbid = d.oid or dbid = 0 and objid = d.oid)
            union
            select setrole from pg_catalog.pg_db_role_setting where setdatabase = d.oid
          ))
      ) as roles,
      (
        select coalesce(jsonb_agg(jsonb_build_object('name', extname, 'version', extversion) order by extname), '[]')
        from pg_catalog.pg_extension
      ) as extensions
    from pg_catalog.pg_database as d where d.datname = current_database()`;
  if (row === undefined) throw new Error("unreachable: the current database exists");
  return row;
}

/** @returns what an archive does not contain, one phrase each */
export async function readOmitted(sql: Sql): Promise<string[]> {
  const rows = await sql<{ phrase: string | null }[]>`
    select format('subscription %I', subname) as phrase from pg_catalog.pg_subscription
    where subdbid = (select oid from pg_catalog.pg_database where datname = current_database())
    union all
    select format('tablespace of %s', c.oid::regclass) from pg_catalog.pg_class as c where reltablespace <> 0
      and c.oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace
    union all
    select unnest(array[
      case when spcname <> 'pg_default' then 'tablespace of the database' end,
      case when datistemplate then 'is_template of the database' end
    ])
    from pg_catalog.pg_database as d join pg_catalog.pg_tablespace as t on t.oid = dattablespace
    where datname = current_database()
    order by 1`;
  return rows.flatMap(({ phrase }) => phrase ?? []);
}

/** @returns the statements that give a database its settings and privileges, each independent of the others */
export function databaseStatements(database: string, facts: DatabaseFacts): string[] {
  const name = quoteIdentifier(database);
  const statements = facts.settings.flatMap(({ role, settings }) => {
    const subject = role === null ? `database ${name}` : `role ${quoteIdentifier(role)} in database ${name}`;
    return settings.map((setting) => `alter ${subject} set ${assignment(setting)}`);
  });
  if (facts.connectionLimit >= 0) statements.push(`alter database ${name} connection limit ${facts.connectionLimit}`);
  if (facts.comment !== null) statements.push(`comment on database ${name} is ${quoteLiteral(facts.comment)}`);
  for (const { grantee, privilege, isGrantable } of facts.grants) {
    const to = grantee === null ? "public" : quoteIdentifier(grantee);
    statements.push(`grant ${privilege} on database ${name} to ${to}${isGrantable ? " with grant option" : ""}`);
  }
  return statements;
}

/** Settings whose values are lists of quoted names; quoted as a whole, a list would be one name. */
const listSettings = new Set([
  "local_preload_libraries",
  "search_path",
  "session_preload_libraries",
  "shared_preload_libraries",
  "temp_tablespaces",
  "unix_socket_directories",
]);

/** @param setting `name=value`, as the server stores it */
function assignment(setting: string): string {
  const at = setting.indexOf("=");
  const [name, value] = [setting.slice(0, at), setting.slice(at + 1)];
  const quotedName = name.split(".").map(quoteIdentifier).join(".");
  // An empty list is stored as nothing, which can only be set as an empty string.
  const isList = listSettings.has(name.toLowerCase()) && value !== "";
  return `${quotedName} to ${isList ? value : quoteLiteral(value)}`;
}

/**
 * What an archive sets, and on top of it what the replaced database has, which may be newer.
 *
 * @param defaults settings of a database that nobody has changed, which override nothing
 */
export function mergeFacts(
  archived: DatabaseFacts,
  replaced: DatabaseFacts | undefined,
  defaults: readonly string[],
): DatabaseFacts {
  if (replaced === undefined) return archived;
  const changed = replaced.settings.map(({ role, settings }) => {
    return { role, settings: settings.filter((setting) => role !== null || !defaults.includes(setting)) };
  });
  return {
    ...archived,
    comment: replaced.comment ?? archived.comment,
    connectionLimit: replaced.connectionLimit >= 0 ? replaced.connectionLimit : archived.connectionLimit,
    settings: [...archived.settings, ...changed],
    grants: [...archived.grants, ...replaced.grants],
  };
}

/** @returns the end of `create database`: its locale; "" if it is that of the template */
export function localeClause({ locale }: DatabaseFacts, template: DatabaseFacts): string {
  if (JSON.stringify(locale) === JSON.stringify(template.locale)) return "";
  const { provider, collate, ctype, rules } = locale;
  const clauses = [`lc_collate ${quoteLiteral(collate)}`, `lc_ctype ${quoteLiteral(ctype)}`];
  if (provider === "i") clauses.push("locale_provider icu", `icu_locale ${quoteLiteral(locale.locale ?? "")}`);
  if (provider === "b") clauses.push("locale_provider builtin", `builtin_locale ${quoteLiteral(locale.locale ?? "")}`);
  if (provider === "c") clauses.push("locale_provider libc");
  if (rules !== null) clauses.push(`icu_rules ${quoteLiteral(rules)}`);
  return clauses.join(" ");
}
