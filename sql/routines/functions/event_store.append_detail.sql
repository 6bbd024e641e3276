-- Builds the JSON detail of errors about a stream, for programs: expected and actual version, and the aggregate, with its
-- key if it has one.
--
-- Immutable; reads nothing. Granted to nobody.
-- Callers: event_store.append_refusal, archive_stream, redact_event, reopen_stream, save_snapshot.

-- The function without a key. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.append_detail(integer, integer, varchar, uuid)') is not null then
    drop function event_store.append_detail(integer, integer, varchar, uuid);
  end if;
end
$$;

create or replace function event_store.append_detail(
  expected integer,
  actual integer,
  aggregate_type varchar,
  aggregate_id uuid,
  aggregate_key text
)
returns text
language sql
immutable
parallel safe
begin atomic
  select (
    jsonb_build_object(
      'expected', expected,
      'actual', actual,
      'aggregate_type', aggregate_type,
      'aggregate_id', aggregate_id
    )
    || case when aggregate_key is null then '{}' else jsonb_build_object('aggregate_key', aggregate_key) end
  )::text;
end;

comment on function event_store.append_detail is 'Builds the JSON detail of errors about a stream';
