-- Says in one sentence why an append's arguments can't be used; null when they can.
--
-- Immutable; reads nothing. Called by event_store.append_refusal alone, so nobody is granted it. What it refuses event
-- by event, event_store.append and event_store.append_batch leave out of their inserts by event_store.is_event.
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
      '%s is not an expected version: give a version, 0 for no stream, -4 for any stream, or null for either',
      expected_version
    );
  elsif coalesce(jsonb_typeof(events), 'null') = 'null' or events = '[]' then
    return 'there are no events to append';
  elsif jsonb_typeof(events) <> 'array' then
    return 'the events must be a JSON array';
  end if;

  for event in select jsonb_array_elements(events) loop
    place := place + 1;
    if jsonb_typeof(event) <> 'object' then
      return format('event %s is not a JSON object', place);
    end if;
    select name into key from jsonb_object_keys(event) as name where name <> all (known_keys) limit 1;
    if key is not null then
      return format('event %s has the unknown key %s', place, to_jsonb(key));
    elsif jsonb_typeof(event -> 'event_type') is distinct from 'string' or event ->> 'event_type' = '' then
      return format('event %s has no event_type', place);
    elsif length(event ->> 'event_type') > 255 then
      return format('event %s has an event_type of more than 255 characters', place);
    elsif coalesce(event -> 'event_data', 'null') = 'null' then
      return format('event %s has no event_data', place);
    elsif event ? 'event_version' and coalesce(event ->> 'event_version', '') !~ '^[1-9][0-9]{0,8}$' then
      return format('event %s has an event_version that is not a positive integer', place);
    end if;
    foreach key in array uuid_keys loop
      if event ->> key is not null and not pg_input_is_valid(event ->> key, 'uuid') then
        return format('event %s has a %s that is not a UUID', place, key);
      end if;
    end loop;
  end loop;
  return null;
end
$$;

comment on function event_store.append_problem is 'Says why the arguments of an append can''t be used';
