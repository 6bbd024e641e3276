-- Reads the events of one aggregate in the order of their versions; none if the aggregate is unknown.
--
-- Forwards: above after_version. Backwards: strictly below after_version, or from the end if it is null.
-- up_to_version and up_to_time are inclusive. event_types: only these; null for all. max_count, null for all, counts
-- what is returned.
-- Stable. The primary key of event_store.domain_event serves it and reads only the entries that are returned (with
-- up_to_time and event_types also those of the stream that these filter out). "is true" keeps the planner from reading
-- the index on event types, which has the events of all streams. A single expression, so that it is inlined into the
-- caller's statement; the key of the aggregate is looked up once, if it is selected.
-- Callers: applications.

-- The function without event_types. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.read_stream(varchar, uuid, integer, integer, boolean, integer, timestamptz)')
    is not null
  then
    drop function event_store.read_stream(varchar, uuid, integer, integer, boolean, integer, timestamptz);
  end if;
end
$$;

create or replace function event_store.read_stream(
  aggregate_type varchar,
  aggregate_id uuid,
  after_version integer default 0,
  max_count integer default 1000,
  backwards boolean default false,
  up_to_version integer default null,
  up_to_time timestamptz default null,
  event_types text[] default null
)
returns table (
  global_position bigint,
  stream_id uuid,
  aggregate_type varchar,
  aggregate_id uuid,
  aggregate_version integer,
  event_id uuid,
  event_type varchar,
  event_version integer,
  event_data jsonb,
  metadata jsonb,
  causation_id uuid,
  correlation_id uuid,
  occurred_at timestamptz,
  aggregate_key text
)
language sql
stable
parallel safe
begin atomic
  (
    select
      event.global_position,
      event.stream_id,
      read_stream.aggregate_type,
      read_stream.aggregate_id,
      event.aggregate_version,
      event.event_id,
      event.event_type,
      event.event_version,
      event.event_data,
      event.metadata,
      event.causation_id,
      event.correlation_id,
      event.occurred_at,
      (
        select stream.aggregate_key
        from event_store.event_stream as stream
        where stream.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id)
      )
    from event_store.domain_event as event
    where not backwards
      and event.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id)
      and event.aggregate_version > coalesce(after_version, 0)
      and event.aggregate_version <= coalesce(up_to_version, 2147483647)
      and (up_to_time is null or event.occurred_at <= up_to_time)
      and (event_types is null or (event.event_type = any (event_types)) is true)
    order by event.stream_id, event.aggregate_version
    limit max_count
  )
  union all
  (
    select
      event.global_position,
      event.stream_id,
      read_stream.aggregate_type,
      read_stream.aggregate_id,
      event.aggregate_version,
      event.event_id,
      event.event_type,
      event.event_version,
      event.event_data,
      event.metadata,
      event.causation_id,
      event.correlation_id,
      event.occurred_at,
      (
        select stream.aggregate_key
        from event_store.event_stream as stream
        where stream.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id)
      )
    from event_store.domain_event as event
    where backwards
      and event.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id)
      and event.aggregate_version < coalesce(after_version, 2147483647)
      and event.aggregate_version <= coalesce(up_to_version, 2147483647)
      and (up_to_time is null or event.occurred_at <= up_to_time)
      and (event_types is null or (event.event_type = any (event_types)) is true)
    order by event.stream_id desc, event.aggregate_version desc
    limit max_count
  );
end;

comment on function event_store.read_stream is 'Reads the events of one aggregate, forwards or backwards';

grant execute on function event_store.read_stream to :{app};
