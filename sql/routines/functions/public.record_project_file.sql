-- Notes in the ledger that a file of the project was applied, in the transaction that applies it. Files of the project
-- run as :{app_owner}, which cannot write the ledger itself: its rows of the product are out of reach for them.
create or replace function public.record_project_file(
  name text,
  checksum text,
  applied_by text,
  duration_ms integer,
  statements_done integer default null,
  is_in_doubt boolean default false
)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
begin atomic
  insert into public.schema_migration as entry
    (source, name, checksum, applied_by, duration_ms, statements_done, is_in_doubt)
  values ('app', name, checksum, applied_by, duration_ms, statements_done, is_in_doubt)
  on conflict on constraint schema_migration_pkey do update
  set checksum = excluded.checksum, applied_at = clock_timestamp(), applied_by = excluded.applied_by,
      duration_ms = excluded.duration_ms, statements_done = excluded.statements_done,
      is_in_doubt = excluded.is_in_doubt;
end;

comment on function public.record_project_file is
  'Notes in the ledger that a file of the project was applied';

revoke execute on function public.record_project_file from public;
grant execute on function public.record_project_file to :{app_owner};
