-- Finds the next events of a stream, or of aggregate types with few streams, through their streams.
--
-- of_stream, aggregate_types: the stream, the types, or both. event_types: null for all. after_position,
-- up_to_position: the range. max_count: null for all.
-- Returns their positions in order; null if there are more than 1,000 streams, or if the range is short.
--
-- Outline
-- 1. Take the streams, and compare the costs of scanning the log and of reading the streams, in rows. The log is assumed
--    to contain the events evenly. If scanning is cheaper, scan, but no more rows than reading the streams would cost:
--    the assumption may be wrong. Go on with what is missing.
-- 2. Find the first event of each stream above after_position. The first probes are the last and the first version,
--    which is all that most streams need. Then three kinds take turns: interpolation and its neighbour are right if the
--    stream is evenly active; bisection bounds the number of probes if it is not.
-- 3. Read the streams in chunks until no unread event can precede the last one wanted. Chunks grow, so that about three
--    times as many rows are read as are returned, however the events are distributed.
--
-- Within a stream, positions increase with versions, and no version is missing (sql/verify).
-- Volatile, because it is called after the end of the log was determined, and must see all events up to there. The
-- primary key of event_store.domain_event serves it, and the index on aggregate_type. Runs with the settings of its
-- caller.
-- Callers: event_store.read_all.
create or replace function event_store.find_positions(
  of_stream uuid,
  aggregate_types text[],
  event_types text[],
  after_position bigint,
  up_to_position bigint,
  max_count integer
)
returns bigint[]
language plpgsql
volatile
parallel unsafe
as $$
#variable_conflict use_column
declare
  v_max_streams constant integer := 1000;
  v_wanted bigint := coalesce(max_count, 9223372036854775807);
  v_range constant bigint := up_to_position - after_position;
  v_limit bigint := up_to_position;
  v_stream_count bigint;
  v_event_count bigint;
  v_stream_cost double precision;
  v_scan_cost double precision;
  v_scanned_to bigint;
  v_scanned bigint[] := '{}';
  -- Per stream: its version, the next version to read, and the last position read.
  v_streams uuid[];
  v_versions integer[];
  v_nexts integer[];
  v_reads bigint[];
  v_chunk integer;
  v_found bigint[];
  v_positions bigint[] := '{}';
begin
  if v_range <= 0 or v_wanted = 0 then
    return '{}';
  elsif v_range <= 100 then
    return null;
  end if;

  if of_stream is not null then
    select array_agg(stream_id), array_agg(version), count(*), sum(version)
    into v_streams, v_versions, v_stream_count, v_event_count
    from event_store.event_stream
    where stream_id = of_stream and version > 0
      and (aggregate_types is null or aggregate_type = any (aggregate_types));
  else
    select array_agg(stream_id), array_agg(version), count(*), sum(version)
    into v_streams, v_versions, v_stream_count, v_event_count
    from (
      select stream_id, version
      from event_store.event_stream
      where aggregate_type = any (aggregate_types) and version > 0
      limit v_max_streams + 1
    ) as stream;
  end if;
  if v_stream_count = 0 then
    return '{}';
  elsif v_stream_count > v_max_streams then
    return null;
  end if;
  -- Each row that is scanned or returned costs another one, of its stream.
  v_stream_cost := v_stream_count
    + case
      when after_position > 0 then v_stream_count * (2 + ln(v_event_count::double precision / v_stream_count) / ln(2))
      else 0
    end
    + 5 * least(v_wanted, v_event_count);
  v_scan_cost := 2 * least(v_range, v_wanted::double precision * up_to_position / v_event_count);
  if of_stream is null and v_stream_cost > v_scan_cost then
    v_scanned_to := least(up_to_position, after_position + v_stream_cost::bigint);
    -- "is true" keeps the planner from joining the streams, which would read all of their events.
    v_scanned := array(
      select global_position
      from event_store.domain_event
      where global_position > after_position
        and global_position <= v_scanned_to
        and (stream_id in (select unnest(v_streams))) is true
        and (event_types is null or event_type = any (event_types))
      order by global_position
      limit v_wanted
    );
    v_wanted := v_wanted - cardinality(v_scanned);
    after_position := v_scanned_to;
    if v_wanted = 0 or after_position = up_to_position then
      return v_scanned;
    end if;
  end if;

  if after_position > 0 then
    with recursive search as (
      -- The first event above after_position is above version low, and at version high or below.
      select
        stream,
        version,
        0 as low,
        null::bigint as low_position,
        version + 1 as high,
        null::bigint as high_position,
        null::varchar as high_type,
        version as probe,
        1 as step
      from unnest(v_streams, v_versions) as given (stream, version)
      union all
      select
        stream,
        version,
        bound.*,
        case
          when step = 1 then 1
          when step % 3 = 2 then bound.low + greatest(1, least(bound.high - bound.low - 1, round(
            (after_position - bound.low_position)::double precision * (bound.high - bound.low)
              / (bound.high_position - bound.low_position)
          )::integer))
          when step % 3 = 0 and bound.low = probe then bound.low + 1
          when step % 3 = 0 then bound.high - 1
          else (bound.low + bound.high) / 2
        end,
        step + 1
      from search
      join event_store.domain_event as event on event.stream_id = stream and event.aggregate_version = probe
      cross join lateral (
        select probe, event.global_position, search.high, search.high_position, search.high_type
        where event.global_position <= after_position
        union all
        select search.low, search.low_position, probe, event.global_position, event.event_type
        where event.global_position > after_position
      ) as bound (low, low_position, high, high_position, high_type)
      where search.high - search.low > 1
    )
    select
      array_agg(stream),
      array_agg(version),
      array_agg(high + 1),
      array_agg(high_position),
      array_agg(high_position) filter (where event_types is null or high_type = any (event_types))
    into v_streams, v_versions, v_nexts, v_reads, v_found
    from search
    where high - low = 1 and high <= version;
  else
    v_nexts := array_fill(1, array[v_stream_count::integer]);
    v_reads := array_fill(0::bigint, array[v_stream_count::integer]);
  end if;

  v_chunk := least(1000, ceil(v_wanted::double precision / coalesce(cardinality(v_streams), 1)));
  for v_round in 1 .. 2147483647 loop
    v_positions := array(
      select position
      from unnest(v_positions || v_found) as found (position)
      where position <= v_limit
      order by position
      limit v_wanted
    );
    exit when v_streams is null;
    if cardinality(v_positions) = v_wanted then
      v_limit := v_positions[cardinality(v_positions)];
    end if;

    with unread as (
      select place, stream, version, next
      from unnest(v_streams, v_versions, v_nexts, v_reads) with ordinality as given (stream, version, next, read, place)
      where next <= version and read < v_limit
    ),
    chunk as materialized (
      select place, event.global_position, event.aggregate_version, event.event_type
      from unread
      cross join lateral (
        select global_position, aggregate_version, event_type
        from event_store.domain_event
        where stream_id = stream and aggregate_version >= next
        order by stream_id, aggregate_version
        limit v_chunk
      ) as event
    ),
    read as (
      select place, max(aggregate_version) as version, max(global_position) as position
      from chunk
      group by place
    )
    select
      array(select global_position from chunk where event_types is null or event_type = any (event_types)),
      array_agg(unread.stream),
      array_agg(unread.version),
      array_agg(read.version + 1),
      array_agg(read.position)
    into v_found, v_streams, v_versions, v_nexts, v_reads
    from unread
    join read on read.place = unread.place;
    -- The first two rounds find most events if the streams are about equally active.
    if v_round > 1 then
      v_chunk := least(v_chunk * 2, 100000);
    end if;
  end loop;
  return v_scanned || v_positions;
end
$$;

comment on function event_store.find_positions is
  'Finds the next events of a stream, or of aggregate types with few streams, through their streams';

grant execute on function event_store.find_positions to :{app};
