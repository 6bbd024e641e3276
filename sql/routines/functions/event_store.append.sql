-- Appends events to the stream of an aggregate: all of them at the next versions, or none.
--
-- stream_id: event_store.stream_id_of(aggregate_type, aggregate_id).
-- expected_version: the version the stream must be at; 0 or -1: the stream must not exist; -4: it must exist; null or
-- -2: any version.
-- events: a JSON array of objects with event_type and event_data, and optionally event_id, event_version (default 1),
-- metadata, causation_id, correlation_id. Those two may be other text than a UUID: it is stored in the metadata, as
-- $causationId and $correlationId.
-- aggregate_key: the text that names the aggregate, whose id is then event_store.aggregate_id_of(aggregate_key). It is
-- stored with the stream and returned by readers. Null leaves it alone.
-- Returns the versions of the first and the last event, and the position of the last.
-- Idempotent: if all events are already stored, in this stream and in this order, nothing is appended. The first result
-- is returned again with deduplicated = true, regardless of the expected version and even if the stream is archived.
-- Compared are event_id, event_type, event_version and event_data (event_store.append_refusal says why).
--
-- Locks: the stream's row, until the transaction ends. The statement that takes the lock also checks the version, so of
-- two concurrent callers that expect the same version the second waits, finds another version, and stores nothing. In
-- READ COMMITTED an append to any version never fails because of a concurrent one.
-- Errors (from event_store.append_refusal): UE001 the stream is at another version; UE002 it exists; UE003 it does not
-- exist; UE004 an event_id is taken by another event; UE005 the stream is archived; UE007 invalid arguments.
-- Volatile. Security definer, because the application may not write to the tables. enable_seqscan is off because a
-- session keeps a plan made while a table was small, and that plan would scan the table after it has grown.
-- Callers: applications; event_store.append_events and event_store.append_element.

-- The function without a key. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.append(uuid, varchar, uuid, integer, jsonb)') is not null then
    drop function event_store.append(uuid, varchar, uuid, integer, jsonb);
  end if;
end
$$;

create or replace function event_store.append(
  inout stream_id uuid,
  aggregate_type varchar,
  aggregate_id uuid,
  expected_version integer,
  events jsonb,
  aggregate_key text default null,
  out first_version integer,
  out last_version integer,
  out last_position bigint,
  out deduplicated boolean
)
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_stream_id constant uuid := stream_id;
  v_type constant varchar := aggregate_type;
  v_id constant uuid := aggregate_id;
  v_expected constant integer := coalesce(expected_version, -2);
  v_count constant integer := case jsonb_typeof(events) when 'array' then jsonb_array_length(events) else 0 end;
  v_events jsonb := events;
  v_stored integer;
begin
  if v_count > 0 and aggregate_key is null then
    last_version := event_store.advance_stream(v_stream_id, v_type, v_id, v_expected, v_count);
  elsif v_count > 0 then
    last_version := event_store.advance_named_stream(v_stream_id, v_type, v_id, v_expected, v_count, aggregate_key);
  end if;

  -- Usually, ids are UUIDs: this costs less than to convert them event by event.
  if v_count > 0 and events @? '$[*] ? (
    @.causation_id.type() == "string" && !(@.causation_id like_regex "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" flag "i")
    || @.correlation_id.type() == "string" && !(@.correlation_id like_regex "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" flag "i")
  )' then
    v_events := event_store.keep_text_ids(events);
  end if;

  if last_version is not null then
    with stored as (
      insert into event_store.domain_event (
        event_id,
        stream_id,
        aggregate_version,
        event_version,
        event_type,
        event_data,
        metadata,
        causation_id,
        correlation_id
      )
      select
        coalesce((event ->> 'event_id')::uuid, gen_random_uuid()),
        v_stream_id,
        last_version - v_count + ordinality,
        coalesce((event ->> 'event_version')::integer, 1),
        event ->> 'event_type',
        event -> 'event_data',
        nullif(event -> 'metadata', 'null'),
        (event ->> 'causation_id')::uuid,
        (event ->> 'correlation_id')::uuid
      from jsonb_array_elements(v_events) with ordinality as given (event, ordinality)
      where event_store.is_event(event)
      order by ordinality
      on conflict do nothing
      returning global_position
    )
    select count(*), max(global_position) into v_stored, last_position from stored;

    if v_stored = v_count then
      first_version := last_version - v_count + 1;
      deduplicated := false;
      return;
    end if;
  end if;

  -- Nothing was stored. Either this is a retry of a stored batch, or append_refusal raises the reason, or the reason is
  -- gone and we try once more.
  select refusal.* into first_version, last_version, last_position
  from event_store.append_refusal(
    v_stream_id, v_type, v_id, expected_version, v_events, aggregate_key, last_version - v_count
  ) as refusal;
  if first_version is null then
    select again.* into stream_id, first_version, last_version, last_position, deduplicated
    from event_store.append(v_stream_id, v_type, v_id, expected_version, v_events, aggregate_key) as again;
    return;
  end if;
  deduplicated := true;
  if v_stored is not null then
    update event_store.event_stream set version = version - v_count where stream_id = v_stream_id;
  end if;
end
$$;

comment on function event_store.append is
  'Appends events to a stream atomically, with optimistic locking, and idempotently by event id';

grant execute on function event_store.append to :{app};
