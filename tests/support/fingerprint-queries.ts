/** A condition: the schema was created by users, or users can create objects in it. */
const ours = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`;

/** @returns a condition: the object was not created by an extension */
function notOfExtension(catalog: string, oid: string): string {
  return `not exists (select from pg_depend where classid = '${catalog}'::regclass and objid = ${oid} and deptype = 'e')`;
}

/** @returns privileges in a stable order. Default privileges are expanded, so that both forms compare as equal. */
function privileges(acl: string, kind: string, owner: string): string {
  return `(select string_agg(entry::text, ' ' order by entry::text collate "C")
    from unnest(coalesce(${acl}, acldefault(${kind}, ${owner}))) as entry)`;
}

const comment = (oid: string, catalog: string) => `obj_description(${oid}, '${catalog}')`;

/** @returns a query for the kind, name and definition of objects */
function catalogQuery(kind: string, name: string, parts: readonly string[], source: string): string {
  return `select ${kind} as kind, ${name} as name, jsonb_build_array(${parts.join(", ")})::text as definition ${source}`;
}

const schemas = catalogQuery(
  "'schema'",
  "n.nspname::text",
  [
    // In databases that an older server created, the schema public has another owner.
    "case when n.nspname = 'public' then null else pg_get_userbyid(n.nspowner) end",
    privileges("n.nspacl", "'n'", "n.nspowner"),
    comment("n.oid", "pg_namespace"),
  ],
  `from pg_namespace as n where ${ours} and ${notOfExtension("pg_namespace", "n.oid")}`,
);

const extensions = catalogQuery(
  "'extension'",
  "e.extname::text",
  ["n.nspname"],
  "from pg_extension as e join pg_namespace as n on n.oid = e.extnamespace",
);

const relations = catalogQuery(
  `case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
    when 'S' then 'sequence' when 'f' then 'foreign table' else 'composite type' end`,
  "format('%I.%I', n.nspname, c.relname)",
  [
    "c.relkind",
    "c.relpersistence",
    "pg_get_userbyid(c.relowner)",
    `case when c.relkind = 'c' then null else ${privileges("c.relacl", `case c.relkind when 'S' then 's'::"char" else 'r' end`, "c.relowner")} end`,
    "c.reloptions",
    "c.relrowsecurity",
    "c.relforcerowsecurity",
    "c.relreplident",
    comment("c.oid", "pg_class"),
    "pg_get_expr(c.relpartbound, c.oid)",
    "case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end",
    "case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end",
    "(select array_agg(inhparent::regclass::text order by inhseqno) from pg_inherits where inhrelid = c.oid)",
    `(select array_agg(rulename::text || pg_get_ruledef(oid) order by rulename) from pg_rewrite
      where ev_class = c.oid and rulename <> '_RETURN')`,
    `(select jsonb_build_array(format_type(seqtypid, null), seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
      from pg_sequence where seqrelid = c.oid)`,
    `(select array_agg(refobjid::regclass::text || '.' || refobjsubid || deptype::text order by refobjid, refobjsubid) from pg_depend
      where classid = 'pg_class'::regclass and objid = c.oid and c.relkind = 'S' and deptype in ('a', 'i'))`,
  ],
  `from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where ${ours} and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c') and ${notOfExtension("pg_class", "c.oid")}`,
);

const columns = catalogQuery(
  "'column'",
  "format('%I.%I.%I', n.nspname, c.relname, a.attname)",
  [
    // attnum would count dropped columns as well.
    "row_number() over (partition by c.oid order by a.attnum)",
    "format_type(a.atttypid, a.atttypmod)",
    "a.attnotnull",
    "a.attidentity",
    "a.attgenerated",
    "a.attstorage",
    "a.attcompression",
    "a.attcollation::regcollation::text",
    "pg_get_expr(d.adbin, d.adrelid)",
    privileges("a.attacl", "'c'", "c.relowner"),
    "col_description(c.oid, a.attnum)",
  ],
  `from pg_attribute as a
  join pg_class as c on c.oid = a.attrelid
  join pg_namespace as n on n.oid = c.relnamespace
  left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where ${ours} and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c') and a.attnum > 0 and not a.attisdropped
    and ${notOfExtension("pg_class", "c.oid")}`,
);

const constraints = catalogQuery(
  "'constraint'",
  "format('%I.%I on %s', n.nspname, k.conname, coalesce(nullif(k.conrelid, 0)::regclass::text, k.contypid::regtype::text))",
  ["pg_get_constraintdef(k.oid)", "k.convalidated", comment("k.oid", "pg_constraint")],
  `from pg_constraint as k join pg_namespace as n on n.oid = k.connamespace
  where ${ours} and ${notOfExtension("pg_class", "k.conrelid")} and ${notOfExtension("pg_type", "k.contypid")}`,
);

const indexes = catalogQuery(
  "'index'",
  "format('%I.%I', n.nspname, c.relname)",
  ["pg_get_indexdef(c.oid)", "i.indisvalid", "i.indisclustered", "i.indisreplident", comment("c.oid", "pg_class")],
  `from pg_index as i join pg_class as c on c.oid = i.indexrelid join pg_namespace as n on n.oid = c.relnamespace
  where ${ours} and ${notOfExtension("pg_class", "i.indrelid")}`,
);

const triggers = catalogQuery(
  "'trigger'",
  "format('%I on %I.%I', t.tgname, n.nspname, c.relname)",
  ["pg_get_triggerdef(t.oid)", "t.tgenabled", comment("t.oid", "pg_trigger")],
  `from pg_trigger as t join pg_class as c on c.oid = t.tgrelid join pg_namespace as n on n.oid = c.relnamespace
  where ${ours} and not t.tgisinternal`,
);

const policies = catalogQuery(
  "'policy'",
  "format('%I on %I.%I', p.polname, n.nspname, c.relname)",
  [
    "p.polcmd",
    "p.polpermissive",
    "(select array_agg(case role when 0 then 'public' else pg_get_userbyid(role) end) from unnest(p.polroles) as role)",
    "pg_get_expr(p.polqual, p.polrelid)",
    "pg_get_expr(p.polwithcheck, p.polrelid)",
  ],
  `from pg_policy as p join pg_class as c on c.oid = p.polrelid join pg_namespace as n on n.oid = c.relnamespace
  where ${ours}`,
);

const functions = catalogQuery(
  "case p.prokind when 'a' then 'aggregate' when 'p' then 'procedure' else 'function' end",
  "format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))",
  [
    "case when p.prokind <> 'a' then pg_get_functiondef(p.oid) end",
    `(select jsonb_build_array(aggkind, aggtransfn::text, aggfinalfn::text, aggtranstype::regtype::text, agginitval)
      from pg_aggregate where aggfnoid = p.oid)`,
    "pg_get_userbyid(p.proowner)",
    privileges("p.proacl", "'f'", "p.proowner"),
    comment("p.oid", "pg_proc"),
  ],
  `from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
  where ${ours} and ${notOfExtension("pg_proc", "p.oid")}`,
);

const types = catalogQuery(
  "'type'",
  "format('%I.%I', n.nspname, t.typname)",
  [
    "t.typtype",
    "pg_get_userbyid(t.typowner)",
    privileges("t.typacl", "'T'", "t.typowner"),
    comment("t.oid", "pg_type"),
    "(select array_agg(enumlabel::text order by enumsortorder) from pg_enum where enumtypid = t.oid)",
    `case when t.typtype = 'd' then jsonb_build_array(format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
      t.typcollation::regcollation::text) end`,
    "(select rngsubtype::regtype::text from pg_range where rngtypid = t.oid)",
  ],
  `from pg_type as t join pg_namespace as n on n.oid = t.typnamespace
  where ${ours} and ${notOfExtension("pg_type", "t.oid")} and t.typtype in ('e', 'd', 'r', 'c', 'b')
    and not exists (select from pg_type as element where element.typarray = t.oid)
    and (t.typrelid = 0 or exists (select from pg_class where oid = t.typrelid and relkind = 'c'))`,
);

const others = `
  select 'default privileges' as kind,
    format('%s in %s for %s', d.defaclobjtype, coalesce(n.nspname, 'all schemas'), pg_get_userbyid(d.defaclrole)) as name,
    (select string_agg(entry::text, ' ' order by entry::text collate "C") from unnest(d.defaclacl) as entry) as definition
  from pg_default_acl as d left join pg_namespace as n on n.oid = d.defaclnamespace
  union all
  select 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
  from pg_statistic_ext as s join pg_namespace as n on n.oid = s.stxnamespace where ${ours}
  union all
  select 'event trigger', evtname::text, jsonb_build_array(evtevent, evtfoid::regprocedure::text, evtenabled, evttags)::text
  from pg_event_trigger where ${notOfExtension("pg_event_trigger", "pg_event_trigger.oid")}
  union all
  select 'cast', format('(%s as %s)', castsource::regtype, casttarget::regtype),
    jsonb_build_array(castfunc::regprocedure::text, castcontext, castmethod)::text
  from pg_cast where oid >= 16384 and ${notOfExtension("pg_cast", "pg_cast.oid")}
  union all
  select 'operator', format('%I.%s(%s,%s)', n.nspname, o.oprname, o.oprleft::regtype, o.oprright::regtype), o.oprcode::text
  from pg_operator as o join pg_namespace as n on n.oid = o.oprnamespace
  where ${ours} and ${notOfExtension("pg_operator", "o.oid")}`;

/** Queries that together describe the whole schema; each returns the `kind`, `name` and `definition` of objects. */
export const catalogQueries: readonly string[] = [
  schemas,
  extensions,
  relations,
  columns,
  constraints,
  indexes,
  triggers,
  policies,
  functions,
  types,
  others,
];
