-- Reads the log of all streams in the order of positions, above after_position and as far as the log is complete.
--
-- event_types, aggregate_types, of_stream: filters; null for all. max_count: null for all.
-- up_to_position: an answer of event_store.safe_position(). A reader that gets fewer than max_count rows has read
-- everything up to there and continues from there, so that a filter that matches nothing does not scan the end of the
-- log again and again.
-- A transaction does not see the events that it has appended itself: the log is complete only up to its own floor.
--
-- Volatile and in plpgsql, because it asks how far the log is complete before the statement that reads takes its
-- snapshot (event_store.safe_position says why). The index on (event_type, global_position) serves event types, in
-- growing windows, so that it reads at most a few times as many entries as it returns. event_store.find_positions finds
-- the events of a stream, and of aggregate types with at most 1,000 streams. Those of other aggregate types are compared
-- row by row.
-- Errors: those of event_store.safe_position; UE008 if after_position is beyond the last position drawn, so that the
-- log must have been rewound since it was read; UE007 if the log is not known to be complete up to up_to_position, or
-- if max_count is negative.
-- The settings prevent plans that were made while the tables were small from being used after they have grown. With
-- page costs of 0 the planner considers only the number of entries. Otherwise, because neighbouring positions are on
-- the same few pages, it would read a whole range through the index on positions to find a rare type.
-- Callers: applications.

-- The function without of_stream. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.read_all(bigint, integer, text[], text[], bigint)') is not null then
    drop function event_store.read_all(bigint, integer, text[], text[], bigint);
  end if;
end
$$;

create or replace function event_store.read_all(
  after_position bigint,
  max_count integer default 1000,
  event_types text[] default null,
  aggregate_types text[] default null,
  up_to_position bigint default null,
  of_stream uuid default null
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
language plpgsql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set random_page_cost = 0
set seq_page_cost = 0
as $$
#variable_conflict use_column
declare
  v_safe bigint := coalesce(nullif(current_setting('cqrs.safe_position', true), '')::bigint, -1);
  v_end bigint := up_to_position;
  v_types constant text[] := array(select distinct event_type from unnest(event_types) as given (event_type));
  v_after bigint := coalesce(after_position, 0);
  v_missing bigint := coalesce(max_count, 9223372036854775807);
  v_width bigint := greatest(max_count, 100);
  v_until bigint;
  v_found bigint;
  v_positions bigint[];
begin
  -- An answer that this session got earlier remains valid, except in an isolation level that safe_position() refuses.
  if v_end is null or v_end > v_safe or current_setting('transaction_isolation') <> 'read committed' then
    v_safe := event_store.safe_position();
    v_end := coalesce(v_end, v_safe);
  end if;
  if v_after > v_safe and v_after > event_store.last_drawn_position() then
    perform event_store.check_checkpoint(v_after);
  elsif v_end > v_safe then
    raise exception using
      errcode = 'UE007',
      message = format('the log is not known to be complete up to position %s, only up to %s', v_end, v_safe),
      hint = 'Pass a position that event_store.safe_position() returned to this session, or leave it out.';
  elsif max_count < 0 then
    raise exception using
      errcode = 'UE007',
      message = format('max_count is %s; it must not be negative', max_count),
      hint = 'Pass 0 or more, or null for all events.';
  end if;

  if of_stream is not null or (aggregate_types is not null and event_types is null) then
    v_positions := event_store.find_positions(
      of_stream, aggregate_types, event_types, v_after, v_end, max_count
    );
  end if;

  if v_positions is not null then
    return query
      select
        event.global_position,
        event.stream_id,
        stream.aggregate_type,
        stream.aggregate_id,
        event.aggregate_version,
        event.event_id,
        event.event_type,
        event.event_version,
        event.event_data,
        event.metadata,
        event.causation_id,
        event.correlation_id,
        event.occurred_at,
        stream.aggregate_key
      from unnest(v_positions) as found (global_position)
      join event_store.domain_event as event on event.global_position = found.global_position
      join event_store.event_stream as stream on stream.stream_id = event.stream_id
      order by event.global_position;
    return;
  end if;

  if event_types is null then
    return query
      select
        event.global_position,
        event.stream_id,
        stream.aggregate_type,
        stream.aggregate_id,
        event.aggregate_version,
        event.event_id,
        event.event_type,
        event.event_version,
        event.event_data,
        event.metadata,
        event.causation_id,
        event.correlation_id,
        event.occurred_at,
        stream.aggregate_key
      from event_store.domain_event as event
      join event_store.event_stream as stream on stream.stream_id = event.stream_id
      where event.global_position > v_after
        and event.global_position <= v_end
        and (aggregate_types is null or stream.aggregate_type = any (aggregate_types))
        and (of_stream is null or event.stream_id = of_stream)
      order by event.global_position
      limit max_count;
    return;
  end if;

  while v_missing > 0 and v_after < v_end loop
    v_until := least(v_after + v_width, v_end);
    return query
      select event.*
      from unnest(v_types) as wanted (event_type)
      cross join lateral (
        select
          event.global_position,
          event.stream_id,
          stream.aggregate_type,
          stream.aggregate_id,
          event.aggregate_version,
          event.event_id,
          event.event_type,
          event.event_version,
          event.event_data,
          event.metadata,
          event.causation_id,
          event.correlation_id,
          event.occurred_at,
          stream.aggregate_key
        from event_store.domain_event as event
        join event_store.event_stream as stream on stream.stream_id = event.stream_id
        where event.event_type = wanted.event_type
          and event.global_position > v_after
          and event.global_position <= v_until
          and (aggregate_types is null or stream.aggregate_type = any (aggregate_types))
          and (of_stream is null or event.stream_id = of_stream)
        order by event.global_position
        limit v_missing
      ) as event
      order by event.global_position
      limit v_missing;
    get diagnostics v_found = row_count;
    v_missing := v_missing - v_found;
    v_after := v_until;
    v_width := least(v_width * 2, 1::bigint << 48);
  end loop;
end
$$;

comment on function event_store.read_all is 'Reads the log of all streams as far as it is complete';

grant execute on function event_store.read_all to :{app};
