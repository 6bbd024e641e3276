-- The detail of every error of an append, for programs: what was expected of which stream, and what is.
--
-- Immutable; reads nothing. Called by the functions that refuse something about a stream, so nobody is granted it.
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

comment on function event_store.append_detail is 'Makes the JSON detail of an append''s errors';
