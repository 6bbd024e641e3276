-- The three schemas of CQRS, the extensions, and what the application may do in each.
--
-- Roles, the database, its owner and its search path are made before any migration runs; this file only grants.
-- Runs as :{owner}, which owns all that migrations make.

create schema event_store;
create schema read_model;
create schema command_model;

comment on schema event_store is 'Event Sourcing - immutable event log';
comment on schema read_model is 'CQRS Read Side - denormalized projections';
comment on schema command_model is 'CQRS Write Side - normalized domain model';

-- pgcrypto hashes the names that stream ids are derived from. A managed server may bring it installed elsewhere.
create extension if not exists pgcrypto with schema public;

-- uuid-ossp is for applications that call it; nothing here does, so a managed server may lack it.
do $$
begin
  if exists (select from pg_catalog.pg_available_extensions where name = 'uuid-ossp') then
    create extension if not exists "uuid-ossp" with schema public;
  else
    raise notice 'the extension uuid-ossp is not available on this server; it is left out';
  end if;
end
$$;

-- Whatever a migration makes later follows these rules without saying so.
alter default privileges revoke execute on functions from public;
alter default privileges in schema read_model grant select, insert, update, delete on tables to :{app};
alter default privileges in schema read_model grant usage, select on sequences to :{app};
alter default privileges in schema read_model grant execute on functions to :{app};
alter default privileges in schema command_model grant select, insert, update, delete on tables to :{app};
alter default privileges in schema command_model grant usage, select on sequences to :{app};
alter default privileges in schema command_model grant execute on functions to :{app};

-- The application reads the event store and appends through its functions; it makes tables of its own in the others.
grant usage on schema event_store to :{app};
grant usage, create on schema read_model to :{app};
grant usage, create on schema command_model to :{app};
grant select on table public.schema_migration to :{app};
