-- Returns one sentence that says why the arguments of an append are invalid; null if they are valid.
--
-- Refuses the same events as event_store.is_event, which filters the inserts of event_store.append and
-- event_store.append_batch.
-- Immutable; reads nothing. Granted to nobody.
-- Callers: event_store.append_refusal.
create or replace function event_store.append_problem(
  aggregate_type varchar,
  aggregate_id uuid,
  expected_version integer,
  events jsonb
)
returns text
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  known_keys constant text[] := array[
    'event_id', 'event_type', 'event_version', 'event_data', 'metadata', 'causation_id', 'correlation_id'
  ];
  uuid_keys constant text[] := array['event_id', 'causation_id', 'correlation_id'];
  event jsonb;
  place integer := 0;
  key text;
begin
  if coalesce(aggregate_type, '') = '' then
    return 'the aggregate type is missing';
  elsif length(aggregate_type) > 255 then
    return format('the aggregate type has %s characters; at most 255 are allowed', length(aggregate_type));
  elsif aggregate_id is null then
    return 'the aggregate id is missing';
  elsif expected_version < -2 and expected_version <> -4 then
    return format(
      '%s is not an expected version: pass a version, 0 for a new stream, -4 for an existing one, or null for any',
      expected_version
    );
  elsif coalesce(jsonb_typeof(events), 'null') = 'null' or events = '[]' then
    return 'there are no events to append';
  elsif jsonb_typeof(events) <> 'array' then
    return format('the events are a JSON %s, not a JSON array', jsonb_typeof(events));
  end if;

  for event in select jsonb_array_elements(events) loop
    place := place + 1;
    if jsonb_typeof(event) <> 'object' then
      return format('event %s is a JSON %s, not a JSON object', place, jsonb_typeof(event));
    end if;
    select name into key from jsonb_object_keys(event) as name where name <> all (known_keys) limit 1;
    if key is not null then
      return format('event %s has the unknown key %s', place, to_jsonb(key));
    elsif jsonb_typeof(event -> 'event_type') is distinct from 'string' or event ->> 'event_type' = '' then
      return format('event %s has no event_type that is a non-empty string', place);
    elsif length(event ->> 'event_type') > 255 then
      return format(
        'the event_type of event %s has %s characters; at most 255 are allowed',
        place, length(event ->> 'event_type')
      );
    elsif coalesce(event -> 'event_data', 'null') = 'null' then
      return format('event %s has no event_data; write {} for an event without data', place);
    elsif event ? 'event_version' and coalesce(event ->> 'event_version', '') !~ '^[1-9][0-9]{0,8}$' then
      return format(
        'the event_version of event %s is not an integer from 1 to 999999999: %s',
        place, left((event -> 'event_version')::text, 100)
      );
    end if;
    foreach key in array uuid_keys loop
      if event ->> key is not null and not pg_input_is_valid(event ->> key, 'uuid') then
        return format('the %s of event %s is not a UUID: %s', key, place, left((event -> key)::text, 100));
      end if;
    end loop;
  end loop;
  return null;
end
$$;

comment on function event_store.append_problem is 'Says why the arguments of an append are invalid';
