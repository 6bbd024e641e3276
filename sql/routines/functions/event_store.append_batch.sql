-- Appends to many streams in one statement and one transaction, as event_store.append does for each element, in the
-- given order. A refused element does not fail the others.
--
-- appends: a JSON array of objects with aggregate_type, aggregate_id or aggregate_key or both, events, and optionally
-- stream_id (default: computed) and expected_version.
-- Returns one row per element, in the given order: the result of event_store.append and the positions of its events;
-- or, if the element was refused, the sqlstate, detail and message of its error and nulls in the other columns.
--
-- Outline
-- 1. Advance the streams in the order of their ids, so that two batches never deadlock.
-- 2. Insert the events of the accepted elements in one statement.
-- 3. Append the other elements one by one (event_store.append_element), to find out why they were not accepted.
-- Steps 1 and 2 are undone, and all elements take step 3, if the insert fails (an event or id is invalid, or an id is
-- taken), or if an element that was not accepted is followed by another one for the same stream.
--
-- Errors: UE007 if appends is not a JSON array; otherwise only those that concern the whole transaction.
-- Volatile. Security definer, enable_seqscan: see event_store.append.
-- Callers: applications.
create or replace function event_store.append_batch(appends jsonb)
returns setof event_store.append_result
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_append_count integer;
  v_stream_ids uuid[];
  -- Per element: the version of its stream before its events; null if the element is not stored.
  v_versions integer[];
  v_counts integer[];
  v_positions bigint[];
  v_refusals event_store.append_result[];
  v_row record;
  v_version integer;
  v_refused_stream_id uuid;
  v_place integer;
  v_start integer;
  v_end integer := 0;
  v_result event_store.append_result;
begin
  if coalesce(jsonb_typeof(appends), 'null') <> 'array' then
    raise exception using
      errcode = 'UE007',
      message = format('the appends are a JSON %s, not a JSON array', coalesce(jsonb_typeof(appends), 'null')),
      hint = 'Nothing was appended. Pass a JSON array of objects, as sql/README.md describes them.';
  end if;
  v_append_count := jsonb_array_length(appends);
  v_versions := array_fill(null::integer, array[v_append_count]);

  begin
    v_stream_ids := array_fill(null::uuid, array[v_append_count]);
    v_counts := v_versions;
    for v_row in
      select
        place::integer,
        coalesce(
          (append ->> 'stream_id')::uuid,
          event_store.stream_id_of(append ->> 'aggregate_type', (append ->> 'aggregate_id')::uuid),
          event_store.stream_id_of(append ->> 'aggregate_type', event_store.element_aggregate_id(append))
        ) as stream_id,
        append ->> 'aggregate_type' as aggregate_type,
        (append ->> 'aggregate_id')::uuid as aggregate_id,
        append ->> 'aggregate_key' as aggregate_key,
        coalesce((append ->> 'expected_version')::integer, -2) as expected_version,
        jsonb_array_length(append -> 'events') as event_count,
        append - '{stream_id,aggregate_type,aggregate_id,aggregate_key,expected_version,events}'::text[] = '{}' as is_usable
      from jsonb_array_elements(appends) with ordinality as given (append, place)
      order by stream_id, place
    loop
      if v_row.stream_id = v_refused_stream_id then
        -- Both would have to wait for step 3, which would lock their stream after later ones: batches could deadlock.
        raise exception using errcode = 'UE000';
      end if;
      v_place := v_row.place;
      v_version := null;
      if v_row.is_usable and v_row.event_count > 0 and v_row.aggregate_key is not null then
        if jsonb_typeof(appends -> v_place - 1 -> 'aggregate_key') = 'string' then
          v_version := event_store.advance_named_stream(
            v_row.stream_id,
            v_row.aggregate_type,
            coalesce(v_row.aggregate_id, event_store.element_aggregate_id(appends -> v_place - 1)),
            v_row.expected_version,
            v_row.event_count,
            v_row.aggregate_key
          );
        end if;
      elsif v_row.is_usable and v_row.event_count > 0 then
        v_version := event_store.advance_stream(
          v_row.stream_id,
          v_row.aggregate_type,
          v_row.aggregate_id,
          v_row.expected_version,
          v_row.event_count
        );
      end if;
      if v_version is null then
        v_refused_stream_id := v_row.stream_id;
      else
        v_stream_ids[v_place] := v_row.stream_id;
        v_versions[v_place] := v_version - v_row.event_count;
        v_counts[v_place] := v_row.event_count;
      end if;
    end loop;

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
        v_stream_ids[place],
        v_versions[place] + ordinality,
        coalesce((event ->> 'event_version')::integer, 1),
        event ->> 'event_type',
        event -> 'event_data',
        nullif(event -> 'metadata', 'null'),
        (event ->> 'causation_id')::uuid,
        (event ->> 'correlation_id')::uuid
      from jsonb_array_elements(appends) with ordinality as given (append, place)
      cross join jsonb_array_elements(append -> 'events') with ordinality as element (event, ordinality)
      where v_versions[place] is not null and event_store.is_event(event)
      order by place, ordinality
      returning global_position
    )
    select array_agg(global_position order by global_position) into v_positions from stored;

    if coalesce(cardinality(v_positions), 0)
      <> coalesce((select sum(event_count) from unnest(v_counts) as event_count), 0)
    then
      raise exception using errcode = 'UE000';
    end if;
  exception
    when sqlstate 'UE000' or data_exception or integrity_constraint_violation or program_limit_exceeded then
      v_versions := array_fill(null::integer, array[v_append_count]);
  end;

  if array_position(v_versions, null) is not null then
    for v_place in
      select place
      from jsonb_array_elements(appends) with ordinality as given (append, place)
      where v_versions[place] is null
      order by
        event_store.stream_id_of(append ->> 'aggregate_type', event_store.element_aggregate_id(append)),
        place
    loop
      v_refusals[v_place] := event_store.append_element(appends -> v_place - 1);
    end loop;
  end if;

  for v_place in 1 .. v_append_count loop
    if v_versions[v_place] is null then
      v_result := v_refusals[v_place];
    else
      v_start := v_end + 1;
      v_end := v_end + v_counts[v_place];
      v_result := row(
        v_stream_ids[v_place],
        v_versions[v_place] + 1,
        v_versions[v_place] + v_counts[v_place],
        v_positions[v_end],
        false,
        null,
        null,
        null,
        -- A slice copies the whole array first.
        case when v_start = v_end then array[v_positions[v_end]] else v_positions[v_start : v_end] end
      );
    end if;
    return next v_result;
  end loop;
end
$$;

comment on function event_store.append_batch is
  'Appends to many streams in one statement; a refused element does not fail the others';

grant execute on function event_store.append_batch to :{app};
