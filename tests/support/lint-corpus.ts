/** SQL for the linter, and what it finds there. Files are written in the manner of popular projects. */

/** A rule; texts whose last line it finds, and nothing else; texts, or series of files, in which it finds nothing. */
type Statements = readonly [rule: string, wrong: readonly string[], right: readonly (string | readonly string[])[]];

const outside = "-- no-transaction\n";

export const statements: readonly Statements[] = [
  [
    "index-not-concurrent",
    [
      "create index a on orders (id);",
      "create unique index if not exists a on command_model.orders (lower(name)) where name is not null;",
      "do $$ begin create index a on orders (id); end $$;",
      "do $$ begin execute 'create index a on orders (id)'; end $$;",
    ],
    [
      `${outside}create index concurrently a on orders (id);`,
      "create table orders (id int); create index a on orders (id);",
      "create table command_model.orders (id int); create index a on orders (id);",
      "create temp table orders (id int); create index on orders (id);",
      "create materialized view m as select 1 as a; create unique index on m (a);",
      "create table o2 as select * from orders; create index on o2 (id);",
      "create table o2 (id int); alter table o2 rename to o3; create index on o3 (id);",
    ],
  ],
  [
    "unnamed-concurrent-index",
    [`${outside}create index concurrently on orders (id);`],
    [`${outside}create index concurrently orders_id on orders (id);`],
  ],
  [
    "drop-index-not-concurrent",
    ["drop index a;", "drop index if exists a, b;"],
    [`${outside}drop index concurrently a;`, "create table t (a int); create index i on t (a); drop index i;"],
  ],
  [
    "reindex-not-concurrent",
    ["reindex table orders;", "reindex (verbose) index a;", "reindex (concurrently off) index a;"],
    [`${outside}reindex table concurrently orders;`, `${outside}reindex (concurrently) index a;`],
  ],
  [
    "add-column-volatile-default",
    [
      "alter table orders add column a uuid default gen_random_uuid();",
      "alter table orders add a timestamptz not null default clock_timestamp();",
      "alter table orders add column a serial;",
      "alter table orders add a bigint generated always as identity;",
      "alter table if exists only orders add a int default nextval('s') + 1;",
    ],
    [
      "alter table orders add column a uuid;",
      "alter table orders add a timestamptz not null default now();",
      "alter table orders add a timestamptz default current_timestamp, add b text default 'x'::text;",
      "alter table orders add a jsonb not null default '{}', add b int[] default array[1, 2];",
      "alter table orders alter a set default gen_random_uuid();",
      "create table t (a uuid default gen_random_uuid()); alter table t add b uuid default gen_random_uuid();",
    ],
  ],
  [
    "add-column-stored-generated",
    ["alter table orders add a int generated always as (id * 2) stored;"],
    ["alter table orders add a int generated always as (id * 2) virtual;"],
  ],
  [
    "add-column-not-null",
    ["alter table orders add column a text not null;"],
    ["alter table orders add a text not null default '';", "create table t (); alter table t add a text not null;"],
  ],
  [
    "set-not-null",
    [
      "alter table orders alter a set not null;",
      "alter table orders alter column a set not null, alter b drop not null;",
      "alter table orders add constraint a_not_null not null a;",
    ],
    [
      [
        "alter table orders add constraint c check (a is not null) not valid;",
        "alter table orders validate constraint c; alter table orders alter a set not null;",
      ],
      [
        "alter table orders add constraint c check (a is not null) not valid;",
        "alter table orders validate constraint c;",
        "alter table orders alter a set not null; alter table orders drop constraint c;",
      ],
      ["alter table orders add constraint a_not_null not null a not valid;"],
      "create table t (a int); alter table t alter a set not null;",
    ],
  ],
  [
    "change-column-type",
    ["alter table orders alter a type bigint;", "alter table orders alter column a set data type text using a::text;"],
    [
      ["create table orders (a varchar(10), b numeric(8,2));", "alter table orders alter a type varchar(20);"],
      ["create table orders (a varchar(10), b numeric(8,2));", "alter table orders alter a type text;"],
      ["create table orders (a varchar(10), b numeric(8,2));", "alter table orders alter b type numeric(10,2);"],
      ["alter table orders add a varchar(10);", "alter table orders alter a type varchar;"],
      "create table t (a int); alter table t alter a type bigint;",
    ],
  ],
  [
    "drop-column",
    ["alter table orders drop column a;", "alter table orders drop if exists a;"],
    ["alter table orders alter a drop default;", "create table t (a int); alter table t drop a;"],
  ],
  [
    "unique-without-index",
    [
      "alter table orders add constraint c unique (a);",
      "alter table orders add primary key (a);",
      "alter table orders add column a int constraint c unique;",
    ],
    [
      "alter table orders add constraint c unique using index i;",
      "alter table orders add constraint c primary key using index i;",
      "create table t (a int); alter table t add constraint c unique (a);",
    ],
  ],
  [
    "exclusion-constraint",
    ["alter table bookings add constraint c exclude using gist (room with =, during with &&);"],
    ["create table b (during tstzrange, constraint c exclude using gist (during with &&));"],
  ],
  [
    "check-without-not-valid",
    [
      "alter table orders add constraint c check (a > 0);",
      "alter table orders add column a int constraint c check (a > 0);",
      "alter domain amount add constraint c check (value > 0);",
      "alter domain amount set not null;",
    ],
    [
      "alter table orders add constraint c check (a > 0) not valid;",
      "alter table orders add constraint c check (a > 0) not enforced;",
      "alter domain amount add constraint c check (value > 0) not valid;",
      "alter domain amount validate constraint c;",
    ],
  ],
  [
    "foreign-key-without-not-valid",
    [
      "alter table orders add constraint c foreign key (a) references customers;",
      "alter table orders add column a int default 1 constraint c references customers;",
    ],
    [
      "alter table orders add constraint c foreign key (a) references customers not valid;",
      "alter table orders add column a int constraint c references customers;",
      "create table t (a int references customers);",
      "create table t (a int); alter table t add foreign key (a) references customers;",
    ],
  ],
  [
    "validate-in-same-file",
    ["alter table orders add constraint c check (a > 0) not valid;\nalter table orders validate constraint c;"],
    [
      ["alter table orders add constraint c check (a > 0) not valid;", "alter table orders validate constraint c;"],
      `${outside}alter table orders add constraint c check (a > 0) not valid; alter table orders validate constraint c;`,
    ],
  ],
  [
    "rename",
    [
      "alter table orders rename to sales;",
      "alter table orders rename a to b;",
      "alter view v rename to w;",
      "alter type mood rename to humour;",
      "alter type mood rename value 'sad' to 'blue';",
      "alter function f(int) rename to g;",
      "alter table orders set schema read_model;",
    ],
    [
      "alter index a rename to b;",
      "alter table orders rename constraint a to b;",
      "create table t (a int); alter table t rename a to b; alter table t rename to u;",
    ],
  ],
  [
    "drop-table",
    ["drop table orders;", "drop table if exists a;", "drop materialized view m;", "drop schema legacy;"],
    ["create table t (); drop table t;", "drop view v;", "drop function f(int);", "drop trigger g on orders;"],
  ],
  [
    "drop-cascade",
    ["drop view v cascade;", "drop type t cascade;", "alter table orders drop constraint c cascade;"],
    ["drop view v, w;", "alter table orders drop constraint c;"],
  ],
  [
    "truncate",
    ["truncate orders;", "truncate table only orders restart identity;"],
    ["create table t (); truncate t;"],
  ],
  [
    "table-rewrite",
    [
      "cluster orders using a;",
      `${outside}vacuum full orders;`,
      `${outside}vacuum (full, analyze) orders;`,
      "alter table orders set tablespace fast;",
      "alter table orders set logged;",
      "alter table orders set unlogged;",
      "alter table orders alter a set expression as (b + 1);",
      "alter table all in tablespace a set tablespace b;",
    ],
    [`${outside}vacuum (analyze) orders;`, "alter table orders set (fillfactor = 90);", "analyze orders;"],
  ],
  [
    "refresh-not-concurrent",
    ["refresh materialized view m;"],
    [
      "refresh materialized view concurrently m;",
      "create materialized view m as select 1 with no data; refresh materialized view m;",
    ],
  ],
  ["lock-table", ["lock table orders in share mode;", "lock orders;"], ["create table t (); lock table t;"]],
  [
    "partition",
    [
      "create table p partition of measurements for values in (1);",
      "alter table measurements attach partition p for values in (1);",
      "alter table measurements detach partition p;",
    ],
    [
      "create table p (a int); alter table measurements attach partition p for values in (1);",
      ["alter table p add constraint c check (a = 1) not valid;", "alter table p validate constraint c;"],
      `${outside}alter table measurements detach partition p concurrently;`,
      "create table m (a int) partition by list (a); create table p partition of m for values in (1);",
    ],
  ],
  [
    "disable-trigger",
    [
      "alter table orders disable trigger a;",
      "alter table orders disable trigger all;",
      "alter table orders disable rule r;",
    ],
    ["alter table orders enable trigger a;", "create table t (); alter table t disable trigger user;"],
  ],
  [
    "whole-table-write",
    [
      "update orders set a = 1;",
      "delete from orders;",
      "delete from orders where true;",
      "with d as (delete from orders returning *) insert into archive select * from d;",
      "do $$ begin update orders set a = 1; end $$;",
    ],
    [
      "update orders set a = 1 where a is null;",
      "create table t (a int); update t set a = 1; delete from t;",
      "create function f() returns void language plpgsql as $$ begin delete from orders; end $$;",
    ],
  ],
  [
    "enum-value-used",
    [
      "alter type mood add value 'calm';\ninsert into people (mood) values ('calm');",
      "alter type mood add value if not exists 'calm' before 'sad';\nalter table people alter mood set default 'calm';",
    ],
    [
      ["alter type mood add value 'calm';", "insert into people (mood) values ('calm');"],
      `${outside}alter type mood add value 'calm'; insert into people (mood) values ('calm');`,
      "alter type mood add value 'calm'; insert into people (mood) values ('sad');",
    ],
  ],
  [
    "copy-from-stdin",
    ["copy orders (a) from stdin;"],
    ["insert into orders (a) values (1);", "copy orders to stdout;"],
  ],
  [
    "transaction-control",
    [
      "begin;",
      "start transaction isolation level serializable;",
      "select 1;\ncommit;",
      "commit and chain;",
      "end;",
      "end work;",
      "rollback;",
      "abort;",
      "prepare transaction 'x';",
      "commit prepared 'x';",
      "rollback prepared 'x';",
      "do $$ begin insert into a values (1); commit; end $$;",
      "do $$ begin if true then rollback and chain; end if; end $$;",
      `${outside}create index concurrently a on b (c);\ncommit;`,
    ],
    [
      "savepoint a; release a;",
      "savepoint a; rollback to a;",
      "create procedure p() language plpgsql as $$ begin commit; end $$;",
      "create function f() returns int language sql begin atomic select 1; end;",
      `${outside}do $$ begin update orders set a = 1 where id < 5; commit; end $$;`,
      "do $$ begin null; end $$;",
    ],
  ],
  [
    "needs-no-transaction",
    [
      "create index concurrently a on orders (id);",
      "drop index concurrently a;",
      "vacuum orders;",
      "drop database other;",
      "alter table measurements detach partition p concurrently;",
      "reindex (concurrently) table orders;",
      "create subscription s connection '' publication p;",
      "-- A comment.\n-- no-transaction is missing\ncreate index concurrently a on orders (id);",
      "select 1;\n-- no-transaction\nvacuum orders;",
    ],
    [`${outside}vacuum orders;`, `-- A comment.\n\n${outside}create index concurrently a on orders (id);`],
  ],
  [
    "needless-no-transaction",
    [`-- A comment.\n-- no-transaction\ncreate table t ();`],
    [
      `${outside}vacuum orders;`,
      `${outside}update orders set a = 1 where id < 10;`,
      `${outside}call backfill();`,
      outside,
    ],
  ],
  [
    "lock-timeout",
    [
      "set local lock_timeout = 0;",
      "set lock_timeout to '0';",
      "set local lock_timeout = '5min';",
      "set local lock_timeout to default;",
      "reset lock_timeout;",
      "reset all;",
      "select set_config('lock_timeout', '0', true);",
    ],
    ["set local lock_timeout = '2s';", "set local lock_timeout = 5000;", "set local statement_timeout = 0;"],
  ],
  [
    "set-without-local",
    [
      "set work_mem = '1GB';",
      "set session search_path to read_model;",
      "select set_config('search_path', 'a', false);",
    ],
    ["set local work_mem = '1GB';", `${outside}set work_mem = '1GB'; vacuum orders;`, "set transaction read write;"],
  ],
  [
    "set-local-no-transaction",
    [`${outside}vacuum orders;\nset local work_mem = '1GB';`],
    [`${outside}set work_mem = '1GB'; vacuum orders;`],
  ],
  [
    "event-store-write",
    [
      "update event_store.domain_event set event_data = '{}' where event_type = 'X';",
      "delete from event_store.domain_event;",
      "delete from domain_event where event_type = 'X';",
      "truncate event_store.event_stream cascade;",
      "insert into event_store.domain_event (event_type) values ('X');",
      "copy event_store.domain_event from '/tmp/x';",
      "merge into domain_event d using x on x.id = d.event_id when matched then delete;",
      "with d as (delete from event_store.redaction returning *) select * from d;",
      "set local search_path = event_store;\nupdate snapshot set state = '{}';",
      "do $$ begin delete from event_store.domain_event; end $$;",
      "do $$ begin execute 'delete from event_store.domain_event'; end $$;",
      "create function f() returns void language sql as 'delete from event_store.domain_event';",
      "create function f() returns void language sql begin atomic delete from domain_event; end;",
      "create function f() returns void language plpgsql as $$ begin for i in 1..3 loop delete from log_epoch; end loop; end $$;",
      "create function f() returns void language sql set search_path = event_store as 'delete from redaction';",
      "create rule r as on insert to orders do also delete from domain_event;",
      "select event_store.redact_event('Order', 'x', 1, 'reason');",
      "select setval('event_store.domain_event_global_position', 1);",
      "explain analyze delete from event_store.domain_event;",
      "do $o$ begin create function f() returns void language plpgsql as $$ begin delete from domain_event; end $$; end $o$;",
      "update read_model.dead_letter set error = null;",
      "delete from schema_migration;",
    ],
    [
      "select count(*) from event_store.domain_event;",
      "select * from event_store.append('x', 'Order', 'y', 0, '[]');",
      "create view v as select * from event_store.domain_event;",
      "create table t (event_id uuid references event_store.domain_event (event_id));",
      "copy event_store.domain_event to stdout;",
    ],
  ],
  [
    "event-store-change",
    [
      "alter table event_store.domain_event add column a int;",
      "alter table domain_event drop constraint domain_event_pkey;",
      "alter table event_store.domain_event disable trigger all;",
      "alter table event_store.domain_event enable row level security;",
      "alter table event_store.domain_event replica identity nothing;",
      "alter table event_store.domain_event rename to old;",
      "alter table event_store.domain_event rename column event_data to data;",
      "alter table event_store.domain_event set schema public;",
      "alter table event_store.domain_event set unlogged;",
      "drop table event_store.log_epoch;",
      "drop trigger domain_event_is_immutable on event_store.domain_event;",
      "alter trigger domain_event_is_immutable on event_store.domain_event rename to x;",
      "create trigger t before insert on event_store.domain_event for each row execute function f();",
      "create rule r as on delete to event_store.domain_event do instead nothing;",
      "create policy p on event_store.domain_event;",
      "create index i on event_store.domain_event (event_data);",
      "drop index event_store.domain_event_global_position_idx;",
      "drop index domain_event_global_position_idx;",
      "create or replace function event_store.append() returns int language sql as 'select 1';",
      "drop function event_store.refuse_change;",
      "drop function if exists append_events;",
      "alter function event_store.safe_position() volatile;",
      "alter sequence event_store.domain_event_global_position restart;",
      "drop sequence event_store.domain_event_global_position;",
      "alter type event_store.append_result add attribute x int;",
      "comment on table event_store.domain_event is 'x';",
      "comment on column event_store.domain_event.event_id is 'x';",
      "create table event_store.mine (a int);",
      "create view event_store.v as select 1;",
      "create type event_store.mood as enum ('sad');",
      "create schema event_store create table mine (a int);",
      "alter schema event_store rename to other;",
      "drop schema event_store;",
      "drop schema if exists read_model;",
      "alter table mine set schema event_store;",
      "create table mine () inherits (event_store.domain_event);",
      "create statistics s (dependencies) on event_type, stream_id from event_store.domain_event;",
      "alter table read_model.projection add column x int;",
      "alter table public.schema_migration add column x int;",
      "set local search_path = event_store, public;\ncreate table mine (a int);",
      "do $$ begin alter table event_store.domain_event add column a int; end $$;",
      "lock table event_store.domain_event;",
    ],
    [
      "create table command_model.mine (a int);",
      "create function append() returns int language sql as 'select 1';",
      "create table mine (a int); comment on table mine is 'x'; comment on schema legacy is 'x';",
      "create trigger t before insert on orders for each row execute function event_store.refuse_change();",
    ],
  ],
  [
    "object-in-public",
    ["create table public.mine (a int);", "create function public.f() returns int language sql as 'select 1';"],
    ["create table mine (a int);", "create extension if not exists citext;"],
  ],
  [
    "event-store-privileges",
    [
      "grant update on event_store.domain_event to :{app};",
      "grant insert on domain_event to reader;",
      "revoke select on event_store.domain_event from :{app};",
      "grant all on all tables in schema event_store to :{app};",
      "grant create on schema event_store to :{app};",
      "grant execute on function event_store.redact_event(text) to :{app};",
      "alter default privileges in schema event_store grant all on tables to :{app};",
      "alter default privileges for role cqrs_owner grant all on tables to :{app};",
      "grant cqrs_owner to :{app};",
      "alter role cqrs_app superuser;",
      "drop role cqrs_owner;",
    ],
    [
      "grant select on command_model.orders to :{app};",
      "grant usage on schema read_model to reader;",
      "alter default privileges in schema read_model grant select on tables to reader;",
      "alter default privileges for role cqrs_app_owner grant select on tables to reader;",
      "create role reader nologin;",
    ],
  ],
  [
    "change-role",
    [
      "set role cqrs_owner;",
      "set local role postgres;",
      "reset role;",
      "set session authorization postgres;",
      "set session authorization default;",
      "select set_config('role', 'cqrs_owner', true);",
      "create function f() returns void language plpgsql as $$ begin set local role cqrs_owner; end $$;",
    ],
    ["select current_user;"],
  ],
  [
    "alter-owner",
    [
      "alter table orders owner to postgres;",
      "alter function f() owner to postgres;",
      "alter view v owner to :{owner};",
      "reassign owned by a to b;",
    ],
    ["alter table orders set (fillfactor = 90);"],
  ],
  [
    "event-store-guard",
    [
      "set local session_replication_role = replica;",
      "select set_config('session_replication_role', 'replica', true);",
      "do $$ begin perform set_config('session_replication_role', 'replica', true); end $$;",
      `${outside}alter system set fsync = off;`,
      "alter database :{database} set session_replication_role = replica;",
      "create function f() returns int language sql set session_replication_role = replica as 'select 1';",
      "create event trigger e on ddl_command_end execute function f();",
      "alter event trigger e enable;",
    ],
    ["set local work_mem = '1GB';"],
  ],
  [
    "definer-search-path",
    [
      "create function f() returns int language sql security definer as 'select 1';",
      "create procedure f() language plpgsql security definer as $$ begin null; end $$;",
      "alter function f() security definer;",
    ],
    [
      "create function f() returns int language sql security definer set search_path = pg_catalog as 'select 1';",
      "create function f() returns int language sql security definer set search_path = '' as 'select 1';",
      "create function f() returns int language sql security invoker as 'select 1';",
      "alter function f() security definer set search_path = pg_catalog;",
    ],
  ],
];

/** A file, and `line rule` of what is found in it. */
type File = readonly [manner: string, text: string, expected: readonly string[]];

export const files: readonly File[] = [
  [
    "Rails' structure.sql",
    `SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
SET row_security = off;

CREATE TABLE public.articles (
    id bigint NOT NULL,
    title character varying,
    created_at timestamp(6) without time zone NOT NULL
);

CREATE SEQUENCE public.articles_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
ALTER SEQUENCE public.articles_id_seq OWNED BY public.articles.id;
ALTER TABLE ONLY public.articles ALTER COLUMN id SET DEFAULT nextval('public.articles_id_seq'::regclass);
ALTER TABLE ONLY public.articles ADD CONSTRAINT articles_pkey PRIMARY KEY (id);
CREATE INDEX index_articles_on_title ON public.articles USING btree (title);
SET search_path TO "$user", public;
INSERT INTO "schema_migrations" (version) VALUES ('20240101000000');
`,
    [
      "1 set-without-local",
      "2 lock-timeout",
      "3 set-without-local",
      "4 set-without-local",
      "5 set-without-local",
      "7 object-in-public",
      "13 object-in-public",
      "18 set-without-local",
    ],
  ],
  [
    "Django's sqlmigrate",
    `BEGIN;
--
-- Add field email to customer
--
ALTER TABLE "shop_customer" ADD COLUMN "email" varchar(254) DEFAULT '' NOT NULL;
ALTER TABLE "shop_customer" ALTER COLUMN "email" DROP DEFAULT;
--
-- Alter field name on customer
--
ALTER TABLE "shop_customer" ALTER COLUMN "name" TYPE varchar(200);
--
-- Create constraint unique_email on model customer
--
ALTER TABLE "shop_customer" ADD CONSTRAINT "unique_email" UNIQUE ("email");
CREATE INDEX "shop_customer_email_like" ON "shop_customer" ("email" varchar_pattern_ops);
COMMIT;
`,
    [
      "1 transaction-control",
      "10 change-column-type",
      "14 unique-without-index",
      "15 index-not-concurrent",
      "16 transaction-control",
    ],
  ],
  [
    "Flyway",
    `-- V3__person.sql
create table person (id int not null, name varchar(100) not null);
insert into person (id, name) values (1, 'Axel'), (2, 'Mr. Foo; Bar');
alter table person add constraint pk_person primary key (id);
alter table orders add column person_id int references person (id);
alter table orders add constraint fk foreign key (person_id) references person (id);
`,
    ["6 foreign-key-without-not-valid"],
  ],
  [
    "Prisma",
    `/*
  Warnings:

  - You are about to drop the column \`name\` on the \`User\` table. All the data in the column will be lost.
*/
-- CreateEnum
CREATE TYPE "Role" AS ENUM ('USER', 'ADMIN');

-- AlterTable
ALTER TABLE "User" DROP COLUMN "name",
ADD COLUMN     "role" "Role" NOT NULL DEFAULT 'USER';

-- CreateTable
CREATE TABLE "Post" (
    "id" SERIAL NOT NULL,
    "authorId" INTEGER NOT NULL,
    CONSTRAINT "Post_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");

-- AddForeignKey
ALTER TABLE "Post" ADD CONSTRAINT "Post_authorId_fkey" FOREIGN KEY ("authorId") REFERENCES "User"("id");
`,
    ["10 drop-column", "21 index-not-concurrent"],
  ],
  [
    "Supabase",
    `create table public.profiles (
  id uuid not null references auth.users on delete cascade,
  first_name text,
  primary key (id)
);
alter table public.profiles enable row level security;
create policy "Own profile" on profiles for select using ((select auth.uid()) = id);

create function public.handle_new_user()
returns trigger
language plpgsql
security definer
as $$
begin
  insert into public.profiles (id, first_name) values (new.id, new.raw_user_meta_data ->> 'first_name');
  return new;
end;
$$;
create trigger on_auth_user_created after insert on auth.users
  for each row execute procedure public.handle_new_user();
`,
    ["1 object-in-public", "9 object-in-public", "9 definer-search-path"],
  ],
  [
    "GitLab",
    `SET LOCAL statement_timeout TO 0;
CREATE FUNCTION trigger_a1() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  NEW."id_convert_to_bigint" := NEW."id";
  RETURN NEW;
END;
$$;
ALTER TABLE events ADD COLUMN id_convert_to_bigint bigint DEFAULT 0 NOT NULL;
CREATE TRIGGER trigger_a1 BEFORE INSERT OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION trigger_a1();
LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE events RENAME COLUMN id TO id_tmp;
ALTER TABLE events RENAME COLUMN id_convert_to_bigint TO id;
ALTER TABLE events ALTER COLUMN author_id SET NOT NULL;
UPDATE events SET id_convert_to_bigint = id;
`,
    ["12 lock-table", "13 rename", "14 rename", "15 set-not-null", "16 whole-table-write"],
  ],
  [
    "node-pg-migrate and dbmate, for psql",
    `-- migrate:up
\\set ON_ERROR_STOP on
create table t (a int);
-- migrate:down
drop table t;
`,
    ["2 syntax-error"],
  ],
  [
    "golang-migrate",
    `BEGIN;

CREATE TYPE enum_mood AS ENUM ('happy', 'sad', 'neutral');
ALTER TABLE users ADD COLUMN mood enum_mood;

COMMIT;`,
    ["1 transaction-control", "6 transaction-control"],
  ],
  [
    "Sqitch",
    `-- Deploy flipr:users to pg
-- requires: appschema

BEGIN;
SET client_min_messages = 'warning';
CREATE TABLE flipr.users (nickname TEXT PRIMARY KEY, timestamp TIMESTAMPTZ NOT NULL DEFAULT NOW());
CREATE OR REPLACE FUNCTION flipr.insert_user(nickname TEXT, password TEXT) RETURNS VOID LANGUAGE SQL SECURITY DEFINER AS $$
    INSERT INTO flipr.users VALUES($1, md5($2));
$$;
COMMIT;
`,
    ["4 transaction-control", "5 set-without-local", "7 definer-search-path", "10 transaction-control"],
  ],
  [
    "a repair of data by hand",
    `set session_replication_role = replica;
update event_store.domain_event set event_data = jsonb_set(event_data, '{email}', '"x"') where event_type = 'Signup';
delete from event_store.snapshot;
do $fix$
declare
  v_stream record;
begin
  for v_stream in select stream_id from event_stream where aggregate_type = 'Test' loop
    delete from domain_event where stream_id = v_stream.stream_id;
  end loop;
end
$fix$;
set session_replication_role = default;
`,
    [
      "1 set-without-local",
      "1 event-store-guard",
      "2 event-store-write",
      "3 event-store-write",
      "4 event-store-write",
      "13 event-store-guard",
    ],
  ],
];

/** Series of files in which nothing is found. */
export const cleanFiles: readonly (readonly [name: string, texts: readonly string[]])[] = [
  ["an empty file", [""]],
  ["a file of comments", ["-- Nothing yet.\n/* begin; /* commit; */ */\n;;"]],
  [
    "a new table with all that belongs to it",
    [
      `create table command_model.invoice (
  id uuid default gen_random_uuid() constraint invoice_pkey primary key,
  number bigint generated always as identity,
  total numeric(10, 2) not null constraint invoice_total_is_positive check (total > 0),
  event_id uuid not null references event_store.domain_event (event_id)
);
comment on table command_model.invoice is 'begin; commit; drop table event_store.domain_event;';
create index invoice_total_idx on command_model.invoice (total);
create view read_model.invoices as select * from command_model.invoice join event_store.domain_event using (event_id);
create function command_model.count_invoices() returns bigint language sql stable begin atomic
  select count(*) from command_model.invoice;
end;
create function command_model.touch() returns trigger language plpgsql as $$
begin
  update command_model.invoice set total = total;
  return new;
end $$;
create trigger touch after insert on command_model.invoice for each row execute function command_model.touch();
grant select on command_model.invoice to :{app};
insert into command_model.invoice (total, event_id) select 1, event_id from event_store.domain_event;`,
    ],
  ],
  [
    "a column that becomes NOT NULL in steps",
    [
      "alter table orders add column region text;",
      `-- no-transaction
do $$
begin
  loop
    update orders set region = 'eu' where id in (select id from orders where region is null limit 1000);
    exit when not found;
    commit;
  end loop;
end $$;`,
      "alter table orders add constraint region_is_set check (region is not null) not valid;",
      `alter table orders validate constraint region_is_set;
alter table orders alter region set not null;
alter table orders drop constraint region_is_set;`,
    ],
  ],
];
