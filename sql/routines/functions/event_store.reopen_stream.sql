-- Opens an archived stream to new events again. The counterpart of event_store.archive_stream.
--
-- Returns the version of the last event. Idempotent.
-- Locks: the stream's row, until the transaction ends; an append that came earlier is refused, a later one is stored.
-- Errors: UE003 the stream does not exist.
-- Volatile. Security definer, because the application may not write to the table.
-- Callers: applications.
create or replace function event_store.reopen_stream(aggregate_type varchar, aggregate_id uuid)
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
begin
  update event_store.event_stream
  set archived_at = null
  where stream_id = event_store.stream_id_of(reopen_stream.aggregate_type, reopen_stream.aggregate_id)
    and version > 0
  returning version into v_version;

  if v_version is null then
    raise exception using
      errcode = 'UE003',
      message = format(
        'the stream of %s %s does not exist', reopen_stream.aggregate_type, reopen_stream.aggregate_id
      ),
      detail = event_store.append_detail(null, 0, reopen_stream.aggregate_type, reopen_stream.aggregate_id, null),
      hint = 'Nothing was changed. Check the type and the id of the aggregate.';
  end if;
  return v_version;
end
$$;

comment on function event_store.reopen_stream is 'Opens an archived stream to new events again';

grant execute on function event_store.reopen_stream to :{app};
