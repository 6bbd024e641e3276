-- Closes the stream of an aggregate to new events. The stream can still be read, and a retry of a stored append still
-- returns its first result.
--
-- expected_version: the version the stream must be at; null: any.
-- Returns the version of the last event. Idempotent. event_store.reopen_stream opens the stream again.
-- Locks: the stream's row, until the transaction ends; an earlier append is complete, a later one is refused.
-- Errors: UE001 the stream is at another version; UE003 it does not exist.
-- Volatile. Security definer, because the application may not write to the table.
-- Callers: applications.
create or replace function event_store.archive_stream(
  aggregate_type varchar,
  aggregate_id uuid,
  expected_version integer default null
)
returns integer
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_version integer;
  v_key text;
begin
  update event_store.event_stream
  set archived_at = coalesce(archived_at, current_timestamp)
  where stream_id = event_store.stream_id_of(archive_stream.aggregate_type, archive_stream.aggregate_id)
    and version > 0
  returning version, aggregate_key into v_version, v_key;

  if v_version is null or v_version <> expected_version then
    raise exception using
      errcode = case when v_version is null then 'UE003' else 'UE001' end,
      message = format(
        case
          when v_version is null then 'the stream of %s %s does not exist'
          else 'the stream of %s %s is at version %s, not at version %s'
        end,
        archive_stream.aggregate_type, coalesce(v_key, archive_stream.aggregate_id::text), v_version, expected_version
      ),
      detail = event_store.append_detail(
        expected_version, coalesce(v_version, 0), archive_stream.aggregate_type, archive_stream.aggregate_id, v_key
      ),
      hint = 'Nothing was archived. Load the aggregate again and decide again.';
  end if;
  return v_version;
end
$$;

comment on function event_store.archive_stream is 'Closes a stream to new events';

grant execute on function event_store.archive_stream to :{app};
