-- Appends events to the stream of an aggregate: all of them at the next versions, or none.
--
-- p_expected_version: the version the stream must be at; 0 or -1, there must be none yet; -4, there must be one;
-- null or -2, whatever it is. p_events: objects with event_type and event_data, and as they please event_id,
-- event_version (1 when missing), metadata, causation_id, correlation_id.
--
-- Locks: the stream's row, until the transaction ends. The one statement that takes it also checks the version, so of
-- two callers with the same expectation the second waits, finds another version, and stores nothing.
-- Raises, each with the detail {"expected","actual","aggregate_type","aggregate_id"}: UE001 the stream is at another
-- version; UE002 it exists; UE003 it does not exist; UE007 the arguments can't be used. 23505: an event_id is taken.
-- Volatile; security definer, since the application may not write to the tables.
create or replace function event_store.append_events(
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_events jsonb[]
)
returns uuid
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count constant integer := coalesce(cardinality(p_events), 0);
  v_expected constant integer := coalesce(p_expected_version, -2);
  v_stream_id uuid;
  v_version integer;
  v_problem text;
begin
  v_problem := event_store.append_problem(p_aggregate_type, p_aggregate_id, v_expected, p_events);
  if v_problem is not null then
    raise exception using
      errcode = 'UE007',
      message = v_problem,
      detail = event_store.append_detail(p_expected_version, null, p_aggregate_type, p_aggregate_id),
      hint = 'Nothing was appended. See the comment of event_store.append_events.';
  end if;

  v_stream_id := event_store.stream_id_of(p_aggregate_type, p_aggregate_id);
  if v_expected in (-2, -1, 0) then
    insert into event_store.event_stream as stream (stream_id, aggregate_id, version, aggregate_type)
    values (v_stream_id, p_aggregate_id, v_count, p_aggregate_type)
    on conflict (stream_id) do update
    set version = stream.version + v_count
    where v_expected = -2 or stream.version = 0
    returning version into v_version;
  else
    update event_store.event_stream
    set version = version + v_count
    where stream_id = v_stream_id
      and (version = v_expected or (v_expected = -4 and version > 0))
    returning version into v_version;
  end if;

  if v_version is null then
    v_version := coalesce(
      (select version from event_store.event_stream where stream_id = v_stream_id),
      0
    );
    raise exception using
      errcode = case when v_expected in (-1, 0) then 'UE002' when v_expected = -4 then 'UE003' else 'UE001' end,
      message = format('the stream of %s %s is at version %s', p_aggregate_type, p_aggregate_id, v_version),
      detail = event_store.append_detail(p_expected_version, v_version, p_aggregate_type, p_aggregate_id),
      hint = 'Nothing was appended. Load the aggregate again, decide again, and append with its version.';
  end if;

  insert into event_store.domain_event (
    event_id, stream_id, aggregate_version, event_version, event_type, event_data, metadata, causation_id,
    correlation_id
  )
  select
    coalesce((event ->> 'event_id')::uuid, gen_random_uuid()),
    v_stream_id,
    v_version - v_count + ordinality,
    coalesce((event ->> 'event_version')::integer, 1),
    event ->> 'event_type',
    event -> 'event_data',
    nullif(event -> 'metadata', 'null'),
    (event ->> 'causation_id')::uuid,
    (event ->> 'correlation_id')::uuid
  from unnest(p_events) with ordinality as given (event, ordinality)
  order by ordinality;

  return v_stream_id;
end
$$;

comment on function event_store.append_events is
  'Atomically append events to an aggregate stream with optimistic locking';

grant execute on function event_store.append_events to :{app};
