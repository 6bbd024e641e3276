-- Whether a causation or correlation id of an event is something else than a UUID in the form 8-4-4-4-12. The type uuid
-- accepts other forms, which clients would have to know.
--
-- Immutable; reads nothing. Granted to nobody.
-- Callers: event_store.event_id_problem and event_store.keep_text_ids.
create or replace function event_store.is_text_id(event jsonb, key text)
returns boolean
language sql
immutable
parallel safe
begin atomic
  select event ->> key !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';
end;

comment on function event_store.is_text_id is 'Whether a causation or correlation id of an event is no UUID';
