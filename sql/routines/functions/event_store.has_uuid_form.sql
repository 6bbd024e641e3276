-- Whether a text is a UUID in the form 8-4-4-4-12, in any case. The type uuid accepts other forms, which clients would
-- have to know; for event_store they are text like any other.
--
-- Stable, though it reads nothing, and a single expression: see event_store.is_event. Granted to nobody.
-- Callers: event_store.append and the functions it calls.
create or replace function event_store.has_uuid_form(id text)
returns boolean
language sql
stable
parallel safe
begin atomic
  select id like '________-____-____-____-____________' and pg_input_is_valid(id, 'uuid');
end;

comment on function event_store.has_uuid_form is 'Whether a text is a UUID in the form 8-4-4-4-12';
