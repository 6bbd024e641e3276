-- Locks the row of a stream and advances its version by the number of events to append, or creates the row.
--
-- One statement both locks and checks: a guarded update, or an insert if the stream may not exist yet. Only the insert
-- checks that the id is that of the aggregate; for an existing row, this was checked when it was created.
-- p_expected_version: as for event_store.append, but never null.
-- Returns the new version; null if the stream is not at the expected version or is archived, or if the arguments are
-- invalid.
-- Volatile. Runs with the privileges and settings of its callers; granted to nobody.
-- Callers: event_store.append and event_store.append_batch.
create or replace function event_store.advance_stream(
  p_stream_id uuid,
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_count integer
)
returns integer
language plpgsql
volatile
parallel unsafe
as $$
declare
  v_version integer;
begin
  if p_expected_version not in (-1, 0) then
    update event_store.event_stream
    set version = version + p_count
    where stream_id = p_stream_id
      and aggregate_id = p_aggregate_id
      -- Not "=", for which the planner would choose the index on this column while the table has no statistics.
      and aggregate_type is not distinct from p_aggregate_type
      and archived_at is null
      and (
        p_expected_version = -2
        or version = p_expected_version
        or (p_expected_version = -4 and version > 0)
      )
    returning version into v_version;
  end if;

  if v_version is null and p_expected_version in (-2, -1, 0)
    and p_stream_id = event_store.stream_id_of(p_aggregate_type, p_aggregate_id)
    and p_aggregate_type <> '' and length(p_aggregate_type) <= 255
  then
    insert into event_store.event_stream as stream (stream_id, aggregate_id, version, aggregate_type)
    values (p_stream_id, p_aggregate_id, p_count, p_aggregate_type)
    on conflict (stream_id) do update
    set version = stream.version + p_count
    where stream.archived_at is null
      and (p_expected_version = -2 or stream.version = 0)
    returning version into v_version;
  end if;
  return v_version;
end
$$;

comment on function event_store.advance_stream is
  'Locks a stream, checks its version and advances it, or creates it; null if the stream is not as expected';
