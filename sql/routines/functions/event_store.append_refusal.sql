-- Finds out why an append stored nothing. Returns where its events are when all of them had been stored before, in this
-- stream and this order; otherwise raises, with the detail {"expected","actual","aggregate_type","aggregate_id"}.
--
-- Returns nulls when nothing is to be said against the append any more: the stream was advanced, made or opened between
-- the statement that refused it and this one, so it is to be tried again.
--
-- p_advanced_from: the version the stream was at when the append has advanced it already and may have inserted some of
-- its events; null when it did neither.
-- Raises UE001 to UE005 and UE007; event_store.append says which is which. Sees what was committed while the caller
-- waited for the stream's row, as every statement of a volatile function takes a snapshot of its own.
-- Called by event_store.append alone, so nobody is granted it.
create or replace function event_store.append_refusal(
  p_stream_id uuid,
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_events jsonb,
  p_advanced_from integer,
  out first_version integer,
  out last_version integer,
  out last_position bigint
)
language plpgsql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_expected constant integer := coalesce(p_expected_version, -2);
  v_name constant text := format('the stream of %s %s', p_aggregate_type, p_aggregate_id);
  v_archived_at timestamptz;
  v_actual integer;
  v_problem text;
  v_known integer;
  v_is_in_order boolean;
  v_code text;
  v_message text;
  v_hint text := 'Nothing was appended. Load the aggregate again, decide again, and append with its version.';
begin
  v_problem := event_store.append_problem(p_aggregate_type, p_aggregate_id, v_expected, p_events);
  if v_problem is null and p_stream_id is distinct from event_store.stream_id_of(p_aggregate_type, p_aggregate_id) then
    v_problem := format('%s is not the id of %s', coalesce(p_stream_id::text, 'null'), v_name);
  end if;
  if v_problem is not null then
    raise exception using
      errcode = 'UE007',
      message = v_problem,
      detail = event_store.append_detail(p_expected_version, null, p_aggregate_type, p_aggregate_id),
      hint = 'Nothing was appended. See the comment of event_store.append.';
  end if;

  select archived_at, version into v_archived_at, v_actual from event_store.event_stream where stream_id = p_stream_id;
  v_actual := coalesce(p_advanced_from, v_actual, 0);

  select
    count(*),
    min(stored.aggregate_version),
    max(stored.aggregate_version),
    max(stored.global_position),
    min(stored.aggregate_version - given.ordinality) = max(stored.aggregate_version - given.ordinality)
  into v_known, first_version, last_version, last_position, v_is_in_order
  from jsonb_array_elements(p_events) with ordinality as given (event, ordinality)
  join event_store.domain_event as stored
    on stored.event_id = (given.event ->> 'event_id')::uuid
    and stored.stream_id = p_stream_id
    and stored.aggregate_version <= v_actual;

  if v_known = jsonb_array_length(p_events) and v_is_in_order then
    return;
  elsif v_known > 0 then
    v_code := 'UE004';
    v_message := format(
      '%s of %s event ids are stored in %s already, or all in another order',
      v_known, jsonb_array_length(p_events), v_name
    );
    v_hint := 'Nothing was appended. Retry a batch as it was sent, or give new events new ids.';
  elsif v_archived_at is not null then
    v_code := 'UE005';
    v_message := format('%s is archived', v_name);
    v_hint := 'Nothing was appended. An archived stream can be read, but takes no new events.';
  elsif v_expected > 0 and v_expected <> v_actual then
    v_code := 'UE001';
  elsif v_expected in (-1, 0) and v_actual > 0 then
    v_code := 'UE002';
  elsif v_expected = -4 and v_actual = 0 then
    v_code := 'UE003';
  elsif p_advanced_from is null then
    return;
  else
    v_code := 'UE004';
    v_message := format('an event id of the append to %s is taken, or given twice', v_name);
    v_hint := 'Nothing was appended. Give each event an id of its own.';
  end if;
  raise exception using
    errcode = v_code,
    message = coalesce(v_message, format('%s is at version %s', v_name, v_actual)),
    detail = event_store.append_detail(p_expected_version, v_actual, p_aggregate_type, p_aggregate_id),
    hint = v_hint;
end
$$;

comment on function event_store.append_refusal is
  'Raises why an append stored nothing, unless all of its events had been stored before';
