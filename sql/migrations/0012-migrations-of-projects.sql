-- Lets a project have migrations of its own, which run as :{app_owner} and share the ledger with those of the product.

alter table public.schema_migration
  add column source text not null default 'cqrs'
    constraint schema_migration_source_is_known check (source in ('cqrs', 'app')),
  add column statements_done integer
    constraint schema_migration_statements_done_is_a_number check (statements_done >= 0),
  add column is_in_doubt boolean not null default false;
alter table public.schema_migration
  drop constraint schema_migration_pkey,
  add constraint schema_migration_pkey primary key (source, name);

comment on table public.schema_migration is 'The ledger: the SQL files that were applied';
comment on column public.schema_migration.name is 'Path below the folder of the source, such as migrations/0001-schemas.sql';
comment on column public.schema_migration.checksum is
  'sha-256 of the file with LF line ends, in hexadecimal; of the statements that were run if it is incomplete';
comment on column public.schema_migration.source is 'cqrs: the product; app: the project that uses it';
comment on column public.schema_migration.statements_done is
  'How many statements of a file without a transaction were run; null if the file is complete';
comment on column public.schema_migration.is_in_doubt is
  'Whether the next statement of an incomplete file was begun, so that it may have been run as well';

-- Reads the log and refers to it, and owns what it creates in the other schemas.
grant usage on schema event_store to :{app_owner};
grant select, references on all tables in schema event_store to :{app_owner};
alter default privileges in schema event_store grant select, references on tables to :{app_owner};
grant usage, create on schema read_model to :{app_owner};
grant usage, create on schema read_model_next to :{app_owner};
grant usage, create on schema command_model to :{app_owner};

-- The application uses what the migrations of the project create.
alter default privileges for role :{app_owner} revoke execute on functions from public;
alter default privileges for role :{app_owner} in schema read_model
  grant select, insert, update, delete on tables to :{app};
alter default privileges for role :{app_owner} in schema read_model grant usage, select on sequences to :{app};
alter default privileges for role :{app_owner} in schema read_model grant execute on functions to :{app};
alter default privileges for role :{app_owner} in schema command_model
  grant select, insert, update, delete on tables to :{app};
alter default privileges for role :{app_owner} in schema command_model grant usage, select on sequences to :{app};
alter default privileges for role :{app_owner} in schema command_model grant execute on functions to :{app};
