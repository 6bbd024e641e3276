-- Whether a JSON value is a valid event: one that event_store.append_problem accepts.
--
-- Stable, though it reads nothing, because pg_input_is_valid is stable: PostgreSQL does not inline a SQL function
-- declared less volatile than its body. A single expression, so that it is inlined into the inserts that filter by it;
-- a call would cost 50 microseconds per statement and 7 per event. Granted to nobody.
-- Callers: event_store.append and event_store.append_batch.
create or replace function event_store.is_event(event jsonb)
returns boolean
language sql
stable
parallel safe
begin atomic
  select case when jsonb_typeof(event) = 'object' then
    event - '{event_id,event_type,event_version,event_data,metadata,causation_id,correlation_id}'::text[] = '{}'
    and jsonb_typeof(event -> 'event_type') is not distinct from 'string'
    and length(event ->> 'event_type') between 1 and 255
    and coalesce(event -> 'event_data', 'null') <> 'null'
    and (not event ? 'event_version' or coalesce(event ->> 'event_version', '') ~ '^[1-9][0-9]{0,8}$')
    and (event ->> 'event_id' is null or pg_input_is_valid(event ->> 'event_id', 'uuid'))
    and (event ->> 'causation_id' is null or pg_input_is_valid(event ->> 'causation_id', 'uuid'))
    and (event ->> 'correlation_id' is null or pg_input_is_valid(event ->> 'correlation_id', 'uuid'))
  else false end;
end;

comment on function event_store.is_event is 'Whether a JSON value is a valid event';
