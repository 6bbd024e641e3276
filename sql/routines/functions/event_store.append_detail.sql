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
  select json_object_agg(key, value order by place)::text
  from (
    values
      (1, 'expected', to_json(expected)),
      (2, 'actual', to_json(actual)),
      (3, 'aggregate_type', to_json(aggregate_type)),
      (4, 'aggregate_id', to_json(aggregate_id)),
      (5, 'aggregate_key', to_json(aggregate_key))
  ) as pair (place, key, value)
  where key <> 'aggregate_key' or value is not null;
end;

comment on function event_store.append_detail is 'Builds the JSON detail of errors about a stream';
