/** What a database may contain or be set to: a phrase, and SQL for the superuser. `$db$` is the database's name. */
export type ObjectCase = readonly [phrase: string, sql: string];

const types: readonly ObjectCase[] = [
  ["an enum", "create type x.mood as enum ('sad', 'ok', 'it''s fine'); alter type x.mood add value 'meh' before 'ok'"],
  ["a column of an enum", "create table x.person (m x.mood default 'ok'); insert into x.person values ('meh')"],
  ["a domain", "create domain x.positive as integer default 1 not null constraint is_positive check (value > 0)"],
  ["a composite type", 'create type x.point3 as (a integer, b numeric(5, 2), c text collate "C")'],
  ["a typed table", "create table x.typed of x.point3 (primary key (a), c with options default 'z')"],
  ["a range type", "create type x.floats as range (subtype = float8, subtype_diff = float8mi)"],
  ["a multirange column", "create table x.spans (s int4multirange); insert into x.spans values ('{[1,3), [5,9)}')"],
  ["a shell type", "create type x.shell"],
  [
    "a base type",
    `create type x.mytext;
     create function x.mytext_in(cstring) returns x.mytext language internal immutable strict as 'textin';
     create function x.mytext_out(x.mytext) returns cstring language internal immutable strict as 'textout';
     create type x.mytext (input = x.mytext_in, output = x.mytext_out, internallength = variable, like = text)`,
  ],
  ["a cast", "create cast (x.point3 as text) with inout as assignment"],
  [
    "an operator with its class and family",
    `create function x.same(integer, integer) returns boolean language sql immutable as 'select $1 = $2';
     create operator x.=== (leftarg = integer, rightarg = integer, function = x.same, commutator = operator(x.===));
     create operator family x.hashing using hash;
     create operator class x.hashing_ops for type integer using hash family x.hashing as
       operator 1 =, function 1 hashint4(integer)`,
  ],
  ["a collation", "create collation x.german (provider = icu, locale = 'de-u-co-phonebk', deterministic = false)"],
  ["a column with a collation", "create table x.collated (t text collate x.german)"],
  ["a conversion", "create conversion x.conv for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8"],
  [
    "a text search configuration",
    `create text search dictionary x.dict (template = simple, stopwords = english);
     create text search configuration x.de (copy = pg_catalog.german);
     alter text search configuration x.de alter mapping for asciiword with x.dict`,
  ],
  [
    "a text search parser",
    "create text search parser x.parser (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, lextypes = prsd_lextype)",
  ],
  ["a text search template", "create text search template x.tmpl (init = dsimple_init, lexize = dsimple_lexize)"],
];

const functions: readonly ObjectCase[] = [
  [
    "a function in SQL",
    "create function x.f(a integer, b text default 'it''s') returns text language sql stable as 'select b'",
  ],
  [
    "a function with a body of SQL",
    "create function x.atomic(a integer) returns integer begin atomic select a + 1; end",
  ],
  [
    "a function in plpgsql",
    "create function x.p() returns void language plpgsql security definer set search_path = pg_catalog set work_mem = '8MB' as $$ begin perform $q$'$q$; end $$",
  ],
  [
    "a function with out parameters",
    "create function x.o(out a integer, inout b text, variadic c integer[]) language sql as 'select 1, b'",
  ],
  [
    "a function that returns a table",
    "create function x.t() returns table (a integer, b text) language sql rows 5 cost 7 parallel safe leakproof as $$ select 1, 'a' $$",
  ],
  [
    "a function whose body looks like a header of pg_dump",
    "create function x.h() returns text language sql as $$ select '\n--\n-- Name: a; Type: TABLE; Schema: x; Owner: b\n--\n\n' $$",
  ],
  [
    "a function with a line like psql's",
    "create function x.r() returns text language sql as $$ select '\n\\restrict a\n\\unrestrict a\n\\connect b\n' $$",
  ],
  ["an overloaded function", "create function x.f(a bigint) returns bigint language sql as 'select a'"],
  ["a procedure", "create procedure x.proc(inout a integer) language plpgsql as 'begin a := 1; end'"],
  [
    "an aggregate",
    "create aggregate x.total(integer) (sfunc = int4pl, stype = integer, initcond = '0', parallel = safe)",
  ],
  [
    "an ordered-set aggregate",
    "create aggregate x.pct(float8 order by anyelement) (sfunc = ordered_set_transition, stype = internal, finalfunc = percentile_disc_final, finalfunc_extra)",
  ],
  ["a window function", "create function x.w() returns bigint language internal window as 'window_row_number'"],
  [
    "a function for planners",
    "create function x.sup(integer) returns boolean language sql support generate_series_int4_support as 'select true'",
  ],
  [
    "a procedural language",
    "create function x.call_handler() returns language_handler language c as '$libdir/plpgsql', 'plpgsql_call_handler'; create trusted language x_lang handler x.call_handler; create function x.in_lang() returns integer language x_lang as 'begin return 1; end'",
  ],
];

const tables: readonly ObjectCase[] = [
  [
    "a dropped column before a serial one",
    "create table x.a (old text, id serial primary key, late text default 'x'); alter table x.a drop column old; insert into x.a values (default)",
  ],
  [
    "an identity column behind a dropped one",
    "create table x.b (old text, id bigint generated always as identity (start 7 increment 3)); alter table x.b drop column old; insert into x.b values (default)",
  ],
  [
    "a generated column",
    "create table x.gen (a integer, b integer generated always as (a * 2) stored); insert into x.gen values (4)",
  ],
  ["a table without columns", "create table x.none (); insert into x.none default values"],
  [
    "an unlogged table with rows",
    "create unlogged table x.fast (a serial, b text); insert into x.fast values (default, 'b')",
  ],
  [
    "names with quotes, newlines and other scripts",
    'create table x."Größe ""x""\n; --" ("a b" integer, "\u{1F600}" text)',
  ],
  ["a name of 63 bytes", `create table x.${"n".repeat(63)} (a integer)`],
  [
    "table options",
    "create table x.opt (n text) with (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false)",
  ],
  [
    "column options",
    "create table x.copt (n integer); alter table x.copt alter n set (n_distinct = 50); alter table x.copt alter n set statistics 7",
  ],
  ["storage and compression", "create table x.stor (a text storage external, b text compression pglz)"],
  [
    "inheritance",
    "create table x.parent (a integer check (a > 0)); create table x.child (b integer) inherits (x.parent); insert into x.child values (1, 2)",
  ],
  ["a no-inherit check", "create table x.ni (a integer, constraint c check (a > 0) no inherit)"],
  [
    "partitions by range",
    "create table x.pr (at date, n integer) partition by range (at); create table x.pr1 partition of x.pr for values from ('2020-01-01') to ('2021-01-01'); create table x.prd partition of x.pr default; insert into x.pr values ('2020-05-01', 1), ('1999-01-01', 2)",
  ],
  [
    "partitions by list and hash",
    "create table x.pl (k text, n integer) partition by list (k); create table x.pl1 partition of x.pl for values in ('a', null) partition by hash (n); create table x.pl1a partition of x.pl1 for values with (modulus 2, remainder 0); create table x.pl1b partition of x.pl1 for values with (modulus 2, remainder 1); insert into x.pl values ('a', 1), (null, 2)",
  ],
  [
    "an index and a key of a partitioned table",
    "create table x.pk (a integer, b integer, primary key (a)) partition by range (a); create table x.pk1 partition of x.pk for values from (0) to (9); create index pk_b on x.pk (b); insert into x.pk values (1, 2)",
  ],
  [
    "a partition's own trigger and default",
    "create function x.tf0() returns trigger language plpgsql as 'begin return new; end'; create trigger pt before insert on x.pr1 for each row execute function x.tf0(); alter table x.pr1 alter n set default 5",
  ],
  [
    "odd values",
    "create table x.odd (a float8, b date, c timestamptz, d numeric, e bytea, f interval, g money, h inet, i uuid, j xml, k jsonb, l bit varying, m regclass); insert into x.odd values ('NaN', '4713-01-01 BC', 'infinity', '-Infinity', '\\x00ff', '-1 year 3 days', '12.3', '::1/64', gen_random_uuid(), '<a/>', '{\"a\": [null]}', '0101', 'pg_class')",
  ],
  [
    "text that COPY escapes",
    "create table x.esc (t text); insert into x.esc values (E'a\\tb\\nc\\\\.\\r\\\\N'), ('\\.'), ('')",
  ],
  [
    "arrays and nested composites",
    "create table x.arr (a integer[][], b x.point3[], c text[]); insert into x.arr values ('{{1,2},{3,null}}', array[row(1, 2, 'x')::x.point3], '{\"a,b\",\"\"}')",
  ],
  ["30,000 rows", "create table x.many as select i, repeat('x', i % 50) as t from generate_series(1, 30000) as i"],
  [
    "a replica identity",
    "create table x.ri (a integer not null); create unique index ri_a on x.ri (a); alter table x.ri replica identity using index ri_a",
  ],
  ["a full replica identity", "create table x.rf (a integer); alter table x.rf replica identity full"],
  [
    "a clustered table",
    "create table x.cl (a integer); create index cl_a on x.cl (a); alter table x.cl cluster on cl_a; insert into x.cl values (2), (1)",
  ],
  [
    "a default that calls event_store",
    "create table x.calls (a bigint default event_store.safe_position(), b uuid default event_store.stream_id_of('T', '00000000-0000-0000-0000-000000000000'))",
  ],
  [
    "a table of the application",
    "set role cqrs_app; create table read_model.of_app (id serial primary key, v jsonb); insert into read_model.of_app (v) values ('1')",
  ],
  [
    "a table of the future owner of projects",
    "create table x.of_project (a integer); alter table x.of_project owner to cqrs_app_owner",
  ],
];

const constraints: readonly ObjectCase[] = [
  [
    "a check that old rows do not pass",
    "create table x.nv (n integer); insert into x.nv values (-1); alter table x.nv add constraint n check (n > 0) not valid",
  ],
  [
    "a foreign key that old rows do not pass",
    "create table x.fkt (id integer primary key); create table x.fks (r integer); insert into x.fks values (5); alter table x.fks add constraint f foreign key (r) references x.fkt not valid",
  ],
  [
    "circular foreign keys with rows",
    "create table x.c1 (id integer primary key, o integer); create table x.c2 (id integer primary key, o integer references x.c1 deferrable initially deferred); insert into x.c1 values (1, 1); insert into x.c2 values (1, 1); alter table x.c1 add foreign key (o) references x.c2",
  ],
  [
    "a foreign key with options",
    "create table x.fo (a integer, b integer, foreign key (a) references x.fkt on delete set null on update cascade, foreign key (b) references x.fkt match full)",
  ],
  [
    "a foreign key to itself",
    "create table x.tree (id integer primary key, up integer references x.tree); insert into x.tree values (2, 1), (1, null)",
  ],
  ["an exclusion", "create table x.ex (r int4range, exclude using gist (r with &&))"],
  [
    "NULLS NOT DISTINCT and INCLUDE",
    "create table x.nnd (a integer, b integer, constraint u unique nulls not distinct (a) include (b) with (fillfactor = 60))",
  ],
  ["a deferrable key", "create table x.dk (a integer primary key deferrable initially deferred)"],
  [
    "a constraint trigger",
    "create function x.tf() returns trigger language plpgsql as 'begin return new; end'; create table x.ct (a integer); create constraint trigger ctt after insert on x.ct deferrable initially deferred for each row execute function x.tf()",
  ],
  [
    "a key on an existing index",
    "create table x.ek (a integer not null); create unique index ek_i on x.ek (a); alter table x.ek add constraint ek_k primary key using index ek_i",
  ],
];

const indexes: readonly ObjectCase[] = [
  [
    "indexes of all kinds",
    "create table x.ix (a integer, t text, j jsonb, p point, ts tsvector); create index on x.ix using hash (a); create index on x.ix using gin (j jsonb_path_ops) with (fastupdate = off); create index on x.ix using gist (p); create index on x.ix using brin (a) with (pages_per_range = 16); create index on x.ix using spgist (t)",
  ],
  [
    "a partial index on an expression",
    'create index "by lower" on x.ix (lower(t) text_pattern_ops desc nulls last) where a > 0',
  ],
  [
    "statistics of an index column",
    "create index ixs on x.ix ((a + 1)); alter index x.ixs alter column 1 set statistics 300",
  ],
  [
    "extended statistics",
    "create statistics x.st (ndistinct, dependencies) on a, t from x.ix; alter statistics x.st set statistics 20",
  ],
  ["statistics of an expression", "create statistics x.ste on (a * 2) from x.ix"],
  [
    "an index of a materialized view",
    "create materialized view x.mvi as select a from x.ix; create unique index on x.mvi (a)",
  ],
];

const views: readonly ObjectCase[] = [
  [
    "a view with options",
    "create view x.v1 with (security_barrier, security_invoker) as select a from x.ix where a > 0 with local check option",
  ],
  [
    "a view that reads a newer one",
    "create view x.va as select 1 as n; create view x.vb as select n from x.va; create or replace view x.va as select n from (select 2 as n) as s",
  ],
  [
    "a view on which the older one depends",
    "create table x.base (n integer); create view x.older as select n from x.base; create view x.newer as select n from x.base where n > 0; create or replace view x.older as select n from x.newer",
  ],
  [
    "circular views",
    "create view x.ca as select 1 as n; create view x.cb as select n from x.ca; create or replace view x.ca as select n from x.cb where false",
  ],
  [
    "a recursive view",
    "create view x.rv as with recursive rv (n) as (values (1) union all select n + 1 from rv where n < 3) select n from rv",
  ],
  [
    "a default on a view, and its rule",
    "create view x.vr as select n from x.base; alter view x.vr alter n set default 3; create rule ins as on insert to x.vr do instead insert into x.base values (new.n)",
  ],
  ["a trigger on a view", "create trigger vt instead of insert on x.v1 for each row execute function x.tf0()"],
  ["a view that needs a primary key", "create view x.needs as select id, v from read_model.of_app group by id"],
  ["a materialized view", "create materialized view x.mv as select a, count(*) from x.ix group by a"],
  [
    "a materialized view on another that sorts later",
    "create materialized view x.z_first as select 1 as n; create view x.between as select n from x.z_first; create materialized view x.a_second as select n from x.between",
  ],
  ["a materialized view without rows", "create materialized view x.mvn as select 1 as n with no data"],
  [
    "a materialized view with a function of the search path",
    "create function command_model.plain() returns integer language sql as 'select 1'; set search_path = command_model, x; create materialized view x.mvf as select plain() as n",
  ],
];

const behaviour: readonly ObjectCase[] = [
  [
    "triggers in every state",
    "create table x.tr (a integer); create trigger t1 before insert on x.tr for each row when (new.a > 0) execute function x.tf0(); create trigger t6 after update of a on x.tr for each row execute function x.tf0(); create trigger t2 after update on x.tr referencing old table as o new table as n for each statement execute function x.tf0(); create trigger t3 after delete on x.tr for each row execute function x.tf0(); create trigger t4 before truncate on x.tr execute function x.tf0(); alter table x.tr disable trigger t1, enable always trigger t2, enable replica trigger t3",
  ],
  [
    "a trigger with arguments",
    "create trigger \"t 5\" before insert on x.tr for each row execute function x.tf0('a''b', 'c\\d')",
  ],
  [
    "rules",
    "create table x.ru (a integer); create rule r1 as on delete to x.ru do instead nothing; create rule r2 as on update to x.ru where old.a > 1 do also insert into x.tr values (new.a); create rule r3 as on insert to x.ru do also notify changed; alter table x.ru disable rule r2",
  ],
  [
    "row security",
    "create table x.rls (a integer, u name); alter table x.rls enable row level security; alter table x.rls force row level security; create policy p1 on x.rls for select to cqrs_app using (u = current_user); create policy p2 on x.rls as restrictive for update using (true) with check (a > 0); insert into x.rls values (1, 'a')",
  ],
  [
    "an event trigger",
    "create function x.ev() returns event_trigger language plpgsql as 'begin end'; create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function x.ev()",
  ],
  [
    "a disabled event trigger that would fail",
    "create function x.evf() returns event_trigger language plpgsql as $$ begin raise exception 'no'; end $$; create event trigger block on sql_drop execute function x.evf(); alter event trigger block disable",
  ],
  [
    "a publication of a table",
    "create publication pub for table event_store.domain_event (global_position, event_id) where (global_position > 0) with (publish = 'insert')",
  ],
  ["a publication of everything", "create publication pub_all for all tables with (publish_via_partition_root)"],
  ["a publication of a schema", "create publication pub_schema for tables in schema x"],
];

const sequences: readonly ObjectCase[] = [
  [
    "a sequence with all options",
    "create sequence x.s as smallint increment -3 minvalue -100 maxvalue 10 start 7 cache 2 cycle; select nextval('x.s')",
  ],
  ["an unlogged sequence", "create unlogged sequence x.us; select setval('x.us', 42, false)"],
  [
    "a sequence of a column",
    "create table x.so (a integer); create sequence x.sos owned by x.so.a; select setval('x.sos', 9)",
  ],
  [
    "a renamed serial",
    'create table x.rs (id serial); alter sequence x.rs_id_seq rename to "Renamed"; insert into x.rs default values',
  ],
  [
    "a sequence that two tables share",
    "create sequence x.shared; create table x.sh1 (a integer default nextval('x.shared')); create table x.sh2 (a integer default nextval('x.shared')); insert into x.sh1 default values",
  ],
  [
    "an identity by default",
    "create table x.idd (a integer generated by default as identity (sequence name x.idd_own cycle maxvalue 5)); insert into x.idd default values",
  ],
];

const comments: readonly ObjectCase[] = [
  [
    "comments on everything",
    "comment on schema x is 'It''s \\ \"x\"'; comment on type x.mood is 'm'; comment on function x.f(integer, text) is 'f'; comment on column x.a.id is 'i'; comment on constraint u on x.nnd is 'u'; comment on index x.\"by lower\" is 'b'; comment on view x.v1 is E'line\\nline'; comment on trigger t1 on x.tr is 't'; comment on policy p1 on x.rls is 'p'; comment on publication pub is 'p'; comment on event trigger watch is 'e'; comment on statistics x.st is 's'; comment on domain x.positive is 'd'; comment on rule r1 on x.ru is 'r'; comment on sequence x.s is 's'; comment on materialized view x.mv is 'mv'; comment on collation x.german is 'g'; comment on operator x.=== (integer, integer) is 'o'; comment on aggregate x.total(integer) is 'a'; comment on cast (x.point3 as text) is 'c'; comment on text search configuration x.de is 't'; comment on procedure x.proc(integer) is 'p'",
  ],
  ["placeholders of migrations in texts", "comment on table x.a is ':{app} :{owner} $1 %s'"],
  ["a long comment", "do $$ begin execute format('comment on table x.b is %L', repeat('Größe ''', 100000)); end $$"],
];

const privileges: readonly ObjectCase[] = [
  [
    "privileges of another role",
    "grant usage on schema x to reporter; grant select, insert (a), update (a) on x.gen to reporter with grant option; grant execute on function x.p() to reporter; grant usage on type x.mood to reporter; grant usage on sequence x.s to reporter",
  ],
  [
    "privileges of everyone",
    "grant select on x.a to public; revoke execute on function x.t() from public; revoke usage on domain x.positive from public",
  ],
  [
    "privileges that the owner took from itself",
    "create table x.rev (a integer); revoke insert, delete on x.rev from current_user",
  ],
  [
    "privileges on a column",
    "grant select (a) on x.rls to reporter; grant references (a), insert (a) on x.rls to public",
  ],
  [
    "default privileges",
    "alter default privileges for role cqrs_app in schema x grant select on tables to reporter; alter default privileges for role reporter revoke execute on functions from public; alter default privileges in schema x grant usage on types to reporter",
  ],
  [
    "privileges on event_store",
    "grant usage on schema event_store to reporter; grant select on event_store.domain_event to reporter; grant execute on function event_store.safe_position() to reporter",
  ],
  ["an index that a user added to the log", "create index added_by_hand on event_store.domain_event (event_type)"],
  [
    "objects that reporter owns",
    "create table x.owned (a integer); alter table x.owned owner to reporter; create schema reporter authorization reporter; create function reporter.f() returns integer language sql as 'select 1'; alter function reporter.f() owner to reporter",
  ],
  [
    "large objects",
    "select lo_from_bytea(70001, 'contract'); select lo_from_bytea(70002, decode(repeat('00ff', 400000), 'hex')); select lo_create(70003); alter large object 70002 owner to cqrs_app; grant select on large object 70001 to reporter; grant all on large object 70002 to public; comment on large object 70001 is 'It''s'",
  ],
  [
    "a large object of an owner without privileges",
    "select lo_from_bytea(70004, 'a'); revoke update on large object 70004 from current_user",
  ],
];

const settings: readonly ObjectCase[] = [
  ["CONNECT for another role", "grant connect on database $db$ to reporter"],
  ["CREATE with grant option", "grant create on database $db$ to reporter with grant option"],
  ["TEMPORARY for everyone", "grant temporary on database $db$ to public"],
  ["a setting of the database", "alter database $db$ set statement_timeout = '7s'"],
  ["a setting with quotes", "alter database $db$ set \"app.name\" = E'It''s \\\\ \"x\"'"],
  [
    "a list of schemas",
    'alter database $db$ set search_path = command_model, "Größe x", "$user", read_model, event_store, public',
  ],
  ["a setting that only superusers may change", "alter database $db$ set log_min_duration_statement = 5000"],
  ["a setting of a role in the database", "alter role reporter in database $db$ set work_mem = '5MB'"],
  [
    "settings of a role that are lists",
    "alter role reporter in database $db$ set search_path = x, public; alter role reporter in database $db$ set datestyle = 'ISO, DMY'",
  ],
  ["a comment on the database", "comment on database $db$ is E'It''s\\nthe database'"],
  ["a limit of connections", "alter database $db$ connection limit 50"],
];

const others: readonly ObjectCase[] = [
  ["an own schema", 'create schema "Own schema" create table t (a integer) create view v as select a from t'],
  [
    "an extension in its schema",
    "create schema ext; create extension hstore schema ext; create table x.hs (h ext.hstore default 'a=>1'); insert into x.hs default values",
  ],
  [
    "an operator class of an extension",
    "create extension pg_trgm schema ext; create index trg on x.ix using gin (t ext.gin_trgm_ops)",
  ],
  ["a member added to an extension's schema", "create table ext.mine (a integer); insert into ext.mine values (1)"],
  [
    "a foreign server with its tables",
    "create extension file_fdw schema ext; create server files foreign data wrapper file_fdw; create user mapping for reporter server files; create foreign table x.ft (a text options (force_not_null 'true')) server files options (filename '/dev/null', format 'csv'); grant usage on foreign server files to reporter",
  ],
  [
    "a foreign data wrapper",
    "create foreign data wrapper mine options (debug 'true'); create server other type 'a' version '1' foreign data wrapper mine",
  ],
  [
    "an access method",
    "create access method heap2 type table handler heap_tableam_handler; create table x.am (a integer) using heap2; insert into x.am values (1)",
  ],
  ["the owner of public", "alter schema public owner to cqrs_owner; grant create on schema public to reporter"],
];

/** In an order in which each may use what came before. */
export const objectCases: readonly ObjectCase[] = [
  ...types,
  ...functions,
  ...tables,
  ...constraints,
  ...indexes,
  ...views,
  ...behaviour,
  ...sequences,
  ...others,
  ...privileges,
  ...comments,
  ...settings,
];
