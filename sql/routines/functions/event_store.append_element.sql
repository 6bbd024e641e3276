-- Appends one element of a batch; returns the error of a refused one instead of raising it.
--
-- Costs a subtransaction.
-- Errors: only those that concern the whole transaction, such as 40P01.
-- Volatile. Granted to nobody.
-- Callers: event_store.append_batch.
create or replace function event_store.append_element(append jsonb)
returns event_store.append_result
language plpgsql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_result event_store.append_result;
  v_problem text;
begin
  v_problem := case
    when jsonb_typeof(append) <> 'object'
      then format('the element of the batch is a JSON %s, not a JSON object', jsonb_typeof(append))
    when append - '{stream_id,aggregate_type,aggregate_id,aggregate_key,expected_version,events}'::text[] <> '{}'
      then 'the element of the batch has an unknown key; '
        'allowed are stream_id, aggregate_type, aggregate_id, aggregate_key, expected_version and events'
    when not pg_input_is_valid(append ->> 'stream_id', 'uuid')
      then format('the stream id is not a UUID: %s', left((append -> 'stream_id')::text, 100))
    when not pg_input_is_valid(append ->> 'aggregate_id', 'uuid')
      then format('the aggregate id is not a UUID: %s', left((append -> 'aggregate_id')::text, 100))
    when jsonb_typeof(append -> 'aggregate_key') not in ('string', 'null')
      then format('the aggregate key is not a string: %s', left((append -> 'aggregate_key')::text, 100))
    when not pg_input_is_valid(append ->> 'expected_version', 'integer')
      then format('the expected version is not an integer: %s', left((append -> 'expected_version')::text, 100))
  end;
  if v_problem is not null then
    v_result.sqlstate := 'UE007';
    v_result.message := v_problem;
    v_result.detail := jsonb_build_object(
      'expected', append -> 'expected_version',
      'actual', null,
      'aggregate_type', append -> 'aggregate_type',
      'aggregate_id', append -> 'aggregate_id'
    )
    || jsonb_strip_nulls(jsonb_build_object('aggregate_key', append -> 'aggregate_key'));
    return v_result;
  end if;

  select appended.stream_id, first_version, last_version, last_position, deduplicated
  into v_result.stream_id, v_result.first_version, v_result.last_version, v_result.last_position, v_result.deduplicated
  from event_store.append(
    coalesce(
      (append ->> 'stream_id')::uuid,
      event_store.stream_id_of(append ->> 'aggregate_type', event_store.element_aggregate_id(append))
    ),
    append ->> 'aggregate_type',
    event_store.element_aggregate_id(append),
    (append ->> 'expected_version')::integer,
    append -> 'events',
    append ->> 'aggregate_key'
  ) as appended;
  v_result.positions := array(
    select global_position
    from event_store.domain_event as event
    where event.stream_id = v_result.stream_id
      and aggregate_version between v_result.first_version and v_result.last_version
    order by aggregate_version
  );
  return v_result;
exception
  when sqlstate 'UE000' or data_exception or integrity_constraint_violation or program_limit_exceeded then
    get stacked diagnostics
      v_result.sqlstate = returned_sqlstate,
      v_result.message = message_text,
      v_result.detail = pg_exception_detail;
    return v_result;
end
$$;

comment on function event_store.append_element is
  'Appends one element of a batch; returns the error of a refused one instead of raising it';
