-- Returns what is known about the stream of an aggregate, or no row if it has no events.
--
-- version: that of the last event. created_at, updated_at: the times of the first append and of the last event.
-- archived_at: when the stream was closed to new events; null while it is open. aggregate_key: the text id of the
-- aggregate; null if it has none.
-- Stable. The primary keys of event_store.event_stream and event_store.domain_event serve it. To lock the stream,
-- append with the version that this returned: the append is refused if there is a later one.
-- Callers: applications.
create or replace function event_store.stream_info(aggregate_type varchar, aggregate_id uuid)
returns table (
  stream_id uuid,
  version integer,
  created_at timestamptz,
  updated_at timestamptz,
  archived_at timestamptz,
  aggregate_key text
)
language sql
stable
parallel safe
begin atomic
  select
    stream.stream_id,
    stream.version,
    stream.created_at,
    (
      select event.occurred_at
      from event_store.domain_event as event
      where event.stream_id = stream.stream_id and event.aggregate_version = stream.version
    ),
    stream.archived_at,
    stream.aggregate_key
  from event_store.event_stream as stream
  where stream.stream_id = event_store.stream_id_of(stream_info.aggregate_type, stream_info.aggregate_id)
    and stream.version > 0;
end;

comment on function event_store.stream_info is 'Version, times and archive mark of the stream of an aggregate';

grant execute on function event_store.stream_info to :{app};
