-- Returns one sentence that says why the arguments of an append are invalid; null if they are valid.
--
-- Refuses the same events as event_store.is_event, which filters the inserts of event_store.append and
-- event_store.append_batch.
-- Stable, because pg_input_is_valid is; reads nothing. Granted to nobody.
-- Callers: event_store.append_refusal.

-- The function without a key. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.append_problem(varchar, uuid, integer, jsonb)') is not null then
    drop function event_store.append_problem(varchar, uuid, integer, jsonb);
  end if;
end
$$;

create or replace function event_store.append_problem(
  aggregate_type varchar,
  aggregate_id uuid,
  expected_version integer,
  events jsonb,
  aggregate_key text
)
returns text
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  known_keys constant text[] := array[
    'event_id', 'event_type', 'event_version', 'event_data', 'metadata', 'causation_id', 'correlation_id'
  ];
  event jsonb;
  place integer := 0;
  key text;
  problem text;
begin
  if coalesce(aggregate_type, '') = '' then
    return 'the aggregate type is missing';
  elsif length(aggregate_type) > 255 then
    return format('the aggregate type has %s characters; at most 255 are allowed', length(aggregate_type));
  elsif octet_length(aggregate_key) not between 1 and 1024 then
    return format('the aggregate key has %s bytes; it must have 1 to 1024', octet_length(aggregate_key));
  elsif aggregate_id is null then
    return 'the aggregate id is missing';
  elsif aggregate_id <> event_store.aggregate_id_of(aggregate_key) then
    return format(
      '%s is not the id of the aggregate key %s: pass event_store.aggregate_id_of(key)',
      aggregate_id, to_jsonb(left(aggregate_key, 100))
    );
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
    if event ->> 'event_id' is not null and not pg_input_is_valid(event ->> 'event_id', 'uuid') then
      return format('the event_id of event %s is not a UUID: %s', place, left((event -> 'event_id')::text, 100));
    end if;
    problem := coalesce(
      event_store.event_id_problem(event, 'causation_id', '$causationId', place),
      event_store.event_id_problem(event, 'correlation_id', '$correlationId', place)
    );
    if problem is not null then
      return problem;
    end if;
  end loop;
  return null;
end
$$;

comment on function event_store.append_problem is 'Says why the arguments of an append are invalid';
