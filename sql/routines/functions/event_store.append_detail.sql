-- Builds the JSON detail of errors about a stream, for programs: expected and actual version, and the aggregate.
--
-- Immutable; reads nothing. Granted to nobody.
-- Callers: event_store.append_refusal, archive_stream, redact_event, save_snapshot.
create or replace function event_store.append_detail(
  expected integer,
  actual integer,
  aggregate_type varchar,
  aggregate_id uuid
)
returns text
language sql
immutable
parallel safe
begin atomic
  select json_build_object(
    'expected', expected,
    'actual', actual,
    'aggregate_type', aggregate_type,
    'aggregate_id', aggregate_id
  )::text;
end;

comment on function event_store.append_detail is 'Builds the JSON detail of errors about a stream';
