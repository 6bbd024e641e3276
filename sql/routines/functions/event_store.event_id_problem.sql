-- Returns one sentence that says why a causation or correlation id of an event is invalid; null if it is valid: a UUID,
-- or text that can be kept in the metadata under metadata_key.
--
-- place: the number of the event, for the sentence.
-- Stable, because pg_input_is_valid is. Granted to nobody.
-- Callers: event_store.append_problem and event_store.keep_text_ids.
create or replace function event_store.event_id_problem(event jsonb, key text, metadata_key text, place integer)
returns text
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  id constant text := event ->> key;
  metadata constant jsonb := coalesce(nullif(event -> 'metadata', 'null'), '{}');
begin
  if event_store.is_text_id(event, key) is not true then
    return null;
  elsif jsonb_typeof(event -> key) <> 'string' or octet_length(id) not between 1 and 1024 then
    return format(
      'the %s of event %s is neither a UUID nor text of 1 to 1024 bytes: %s',
      key, place, left((event -> key)::text, 100)
    );
  elsif jsonb_typeof(metadata) <> 'object' then
    return format(
      'the %s of event %s is no UUID, so it is kept in the metadata, but that is a JSON %s, not a JSON object',
      key, place, jsonb_typeof(metadata)
    );
  elsif metadata -> metadata_key <> event -> key then
    return format('the metadata of event %s has another %s than its %s', place, metadata_key, key);
  end if;
  return null;
end
$$;

comment on function event_store.event_id_problem is 'Says why a causation or correlation id of an event is invalid';
