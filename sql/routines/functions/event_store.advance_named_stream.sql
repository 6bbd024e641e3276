-- Does what event_store.advance_stream does for an aggregate that is named by text, and stores the text with its stream.
--
-- p_aggregate_key: 1 to 1024 bytes; the aggregate_id as text leaves the key of the stream alone.
-- Returns the new version; null also if the key is invalid, does not belong to p_aggregate_id, or is not the key that
-- the stream has.
-- Volatile. Runs with the privileges and settings of its callers; granted to nobody. Not a part of advance_stream, so
-- that appends without a key cost nothing more.
-- Callers: event_store.append and event_store.append_batch.
create or replace function event_store.advance_named_stream(
  p_stream_id uuid,
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_count integer,
  p_aggregate_key text
)
returns integer
language plpgsql
volatile
parallel unsafe
as $$
declare
  v_version integer;
begin
  if lower(p_aggregate_key) = p_aggregate_id::text then
    return event_store.advance_stream(p_stream_id, p_aggregate_type, p_aggregate_id, p_expected_version, p_count);
  elsif octet_length(p_aggregate_key) not between 1 and 1024
    or p_aggregate_id is distinct from event_store.aggregate_id_of(p_aggregate_key)
    or exists (
      select from event_store.event_stream where stream_id = p_stream_id and aggregate_key <> p_aggregate_key
    )
  then
    return null;
  end if;
  v_version := event_store.advance_stream(
    p_stream_id, p_aggregate_type, p_aggregate_id, p_expected_version, p_count
  );
  if v_version is not null then
    update event_store.event_stream
    set aggregate_key = p_aggregate_key
    where stream_id = p_stream_id and aggregate_key is null;
  end if;
  return v_version;
end
$$;

comment on function event_store.advance_named_stream is
  'Locks the stream of an aggregate that is named by text, checks its version and advances it, or creates it';
