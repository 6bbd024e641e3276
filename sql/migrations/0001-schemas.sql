-- Creates the schemas and extensions, and grants the application its privileges in each schema.
--
-- Runs as :{owner}, as every migration does. Bootstrap has already created the roles, the database, its owner and its
-- search path.

create schema event_store;
create schema read_model;
-- A new version of a projection is built here under its final names, so that tables, indexes and constraints keep their
-- names when they move to read_model.
create schema read_model_next;
create schema command_model;

comment on schema event_store is 'Event store: immutable streams of events';
comment on schema read_model is 'Read side: projections, denormalised for queries';
comment on schema read_model_next is 'Tables of projection versions that are being built while older versions serve';
comment on schema command_model is 'Write side: the normalised domain model of the application';

-- event_store.stream_id_of hashes with public.digest. A managed server may already have pgcrypto installed.
create extension if not exists pgcrypto with schema public;

-- For applications that call it. Nothing here does, so a server without it is fine.
do $$
begin
  if exists (select from pg_catalog.pg_available_extensions where name = 'uuid-ossp') then
    create extension if not exists "uuid-ossp" with schema public;
  else
    raise notice 'the extension uuid-ossp is not available on this server, skipping';
  end if;
end
$$;

-- Privileges on objects that later files create.
alter default privileges revoke execute on functions from public;
alter default privileges in schema read_model grant select, insert, update, delete on tables to :{app};
alter default privileges in schema read_model grant usage, select on sequences to :{app};
alter default privileges in schema read_model grant execute on functions to :{app};
alter default privileges in schema command_model grant select, insert, update, delete on tables to :{app};
alter default privileges in schema command_model grant usage, select on sequences to :{app};
alter default privileges in schema command_model grant execute on functions to :{app};

-- In event_store the application reads tables and appends through functions; elsewhere it may create its own objects.
grant usage on schema event_store to :{app};
grant usage, create on schema read_model to :{app};
grant usage, create on schema read_model_next to :{app};
grant usage, create on schema command_model to :{app};
grant select on table public.schema_migration to :{app};
