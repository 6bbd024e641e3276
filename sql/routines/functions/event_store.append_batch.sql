-- Appends to many streams at once: event_store.append for each element, in the order given, but in one statement and
-- one transaction. An element that is refused fails no other one.
--
-- appends: a JSON array of objects with aggregate_type, aggregate_id, events, and as they please stream_id (computed
-- when missing) and expected_version. Returns a row an element, in their order: what event_store.append returns, or the
-- sqlstate, detail and message of its refusal and nulls before.
--
-- Elements for the same stream take a round each. A round locks its streams in the order of their ids, so that two
-- batches never wait for each other; elements that its one statement did not accept are appended one by one, which
-- finds out why. When the statement itself fails, because of an event or id that can't be used or is taken, all of them are.
-- Raises UE007 when appends is not a JSON array; otherwise only what concerns the whole transaction.
-- Volatile; security definer and enable_seqscan: see event_store.append.
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
  v_results event_store.append_result[];
  v_stream_ids uuid[];
  v_rounds integer[];
  v_is_usable boolean;
  v_wanted jsonb;
  v_row record;
  v_place integer;
begin
  if coalesce(jsonb_typeof(appends), 'null') <> 'array' then
    raise exception using
      errcode = 'UE007',
      message = 'the appends must be a JSON array',
      hint = 'Nothing was appended. See the comment of event_store.append_batch.';
  end if;
  v_results := array_fill(null::event_store.append_result, array[jsonb_array_length(appends)]);

  begin
    select
      array_agg(stream_id order by place),
      array_agg(round order by place),
      bool_and(stream_id is not null and is_usable)
    into v_stream_ids, v_rounds, v_is_usable
    from (
      select place, stream_id, is_usable, row_number() over (partition by stream_id order by place) as round
      from (
        select
          place,
          coalesce(
            (append ->> 'stream_id')::uuid,
            event_store.stream_id_of(append ->> 'aggregate_type', (append ->> 'aggregate_id')::uuid)
          ) as stream_id,
          append - '{stream_id,aggregate_type,aggregate_id,expected_version,events}'::text[] = '{}'
            and length(append ->> 'aggregate_type') between 1 and 255
            and (
              coalesce((append ->> 'expected_version')::integer, -2) in (-4, -2, -1, 0)
              or (append ->> 'expected_version')::integer > 0
            ) as is_usable
        from jsonb_array_elements(appends) with ordinality as given (append, place)
      ) as element
    ) as numbered;

    if not v_is_usable then
      raise exception using errcode = 'UE000';
    end if;

    for v_round in 1 .. coalesce((select max(round) from unnest(v_rounds) as round), 0) loop
      -- By the id of each stream of the round, what is expected of it and how many events it is to get.
      select jsonb_object_agg(
        v_stream_ids[place],
        jsonb_build_array(coalesce((append ->> 'expected_version')::integer, -2), jsonb_array_length(append -> 'events'))
      )
      into v_wanted
      from jsonb_array_elements(appends) with ordinality as given (append, place)
      where v_rounds[place] = v_round;

      for v_row in
        with element as materialized (
          select
            place::integer,
            v_stream_ids[place] as stream_id,
            append ->> 'aggregate_type' as aggregate_type,
            (append ->> 'aggregate_id')::uuid as aggregate_id,
            coalesce((append ->> 'expected_version')::integer, -2) as expected,
            append -> 'events' as events,
            jsonb_array_length(append -> 'events') as event_count
          from jsonb_array_elements(appends) with ordinality as given (append, place)
          where v_rounds[place] = v_round
        ),
        advanced as (
          insert into event_store.event_stream as stream (stream_id, aggregate_id, version, aggregate_type)
          -- One that must exist is made at version 0 here, which is found out below.
          select stream_id, aggregate_id, case when expected in (-2, -1, 0) then event_count else 0 end, aggregate_type
          from element
          where event_count > 0
          order by stream_id
          on conflict (stream_id) do update
          set version = stream.version + (v_wanted -> stream.stream_id::text ->> 1)::integer
          where stream.archived_at is null
            and stream.aggregate_id = excluded.aggregate_id
            and stream.aggregate_type = excluded.aggregate_type
            and case (v_wanted -> stream.stream_id::text ->> 0)::integer
              when -2 then true
              when -4 then stream.version > 0
              when -1 then stream.version = 0
              else stream.version = (v_wanted -> stream.stream_id::text ->> 0)::integer
            end
          returning stream_id, version
        ),
        stored as (
          insert into event_store.domain_event (
            event_id, stream_id, aggregate_version, event_version, event_type, event_data, metadata, causation_id,
            correlation_id
          )
          select
            coalesce((event ->> 'event_id')::uuid, gen_random_uuid()),
            stream_id,
            advanced.version - element.event_count + ordinality,
            coalesce((event ->> 'event_version')::integer, 1),
            event ->> 'event_type',
            event -> 'event_data',
            nullif(event -> 'metadata', 'null'),
            (event ->> 'causation_id')::uuid,
            (event ->> 'correlation_id')::uuid
          from element
          join advanced using (stream_id)
          cross join jsonb_array_elements(element.events) with ordinality as given (event, ordinality)
          where event_store.is_event(event) and advanced.version > 0
          order by place, ordinality
          on conflict do nothing
          returning stream_id, global_position
        )
        select
          place,
          event_count,
          advanced.version,
          position.last,
          -- A stream that is new has to have the id of its aggregate; of another one that was looked at when it was new.
          coalesce(position.stored_count = element.event_count, false)
            and (advanced.version > event_count or stream_id = event_store.stream_id_of(aggregate_type, aggregate_id)) as is_stored
        from element
        join advanced using (stream_id)
        left join (
          select stream_id, count(*) as stored_count, max(global_position) as last from stored group by stream_id
        ) as position using (stream_id)
      loop
        if not v_row.is_stored then
          raise exception using errcode = 'UE000';
        end if;
        v_results[v_row.place] := row(
          v_stream_ids[v_row.place], v_row.version - v_row.event_count + 1, v_row.version, v_row.last, false, null, null, null
        );
      end loop;

      for v_place in
        select place from unnest(v_rounds) with ordinality as given (round, place)
        where round = v_round and v_results[place] is not distinct from null
      loop
        v_results[v_place] := event_store.append_element(appends -> v_place - 1);
      end loop;
    end loop;
  exception
    when sqlstate 'UE000' or data_exception or integrity_constraint_violation or program_limit_exceeded then
      v_results := array_fill(null::event_store.append_result, array[jsonb_array_length(appends)]);
  end;

  for v_place in
    select place
    from jsonb_array_elements(appends) with ordinality as given (append, place)
    where v_results[place] is not distinct from null
    order by
      case when pg_input_is_valid(append ->> 'aggregate_id', 'uuid') then
        event_store.stream_id_of(append ->> 'aggregate_type', (append ->> 'aggregate_id')::uuid)
      end,
      place
  loop
    v_results[v_place] := event_store.append_element(appends -> v_place - 1);
  end loop;
  return query select * from unnest(v_results);
end
$$;

comment on function event_store.append_batch is
  'Appends to many streams in one statement; an element that is refused fails no other one';

grant execute on function event_store.append_batch to :{app};
