-- Finds out why an append stored nothing, and raises it.
--
-- p_advanced_from: the version of the stream before the append advanced it, if it did (it may then also have inserted
-- some of its events); otherwise null.
-- If the append is a retry, that is, all its events are already stored, in this stream and this order, with the same
-- event_type, event_version and event_data, returns where they are. Data that was redacted counts as the same.
-- Metadata, causation_id and correlation_id are not compared: they describe the attempt (its trace, time or process),
-- and the first attempt has been stored. Returns nulls if the reason is gone (the stream was advanced, created or
-- reopened in the meantime); the caller then retries.
-- Errors: UE001 to UE005 and UE007, as event_store.append lists them, with the JSON detail
-- {"expected","actual","aggregate_type","aggregate_id","aggregate_key"}.
-- Volatile, so that each statement takes a new snapshot and sees what was committed while the caller waited for the
-- stream's row. Granted to nobody.
-- Callers: event_store.append.

-- The function without a key. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.append_refusal(uuid, varchar, uuid, integer, jsonb, integer)') is not null then
    drop function event_store.append_refusal(uuid, varchar, uuid, integer, jsonb, integer);
  end if;
end
$$;

create or replace function event_store.append_refusal(
  p_stream_id uuid,
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_events jsonb,
  p_aggregate_key text,
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
  v_given_key constant text := case when lower(p_aggregate_key) <> p_aggregate_id::text then p_aggregate_key end;
  v_key text := v_given_key;
  v_name text := format('the stream of %s %s', p_aggregate_type, coalesce(v_key, p_aggregate_id::text));
  v_archived_at timestamptz;
  v_actual integer;
  v_problem text;
  v_known integer;
  v_is_in_order boolean;
  v_difference record;
  v_code text;
  v_message text;
  v_hint text := 'Nothing was appended. Load the aggregate again, decide again, and append with its new version.';
begin
  v_problem := event_store.append_problem(p_aggregate_type, p_aggregate_id, v_expected, p_events, p_aggregate_key);
  if v_problem is null and p_stream_id is distinct from event_store.stream_id_of(p_aggregate_type, p_aggregate_id) then
    v_problem := format('%s is not the id of %s', coalesce(p_stream_id::text, 'null'), v_name);
  end if;
  if v_problem is not null then
    raise exception using
      errcode = 'UE007',
      message = v_problem,
      detail = event_store.append_detail(p_expected_version, null, p_aggregate_type, p_aggregate_id, v_key),
      hint = 'Nothing was appended. Fix the arguments; sql/README.md describes them.';
  end if;

  select archived_at, version, aggregate_key
  into v_archived_at, v_actual, v_key
  from event_store.event_stream
  where stream_id = p_stream_id;
  if v_key <> v_given_key then
    raise exception using
      errcode = 'UE007',
      message = format('%s has the key %s, not %s', v_name, to_jsonb(v_key), to_jsonb(v_given_key)),
      detail = event_store.append_detail(p_expected_version, null, p_aggregate_type, p_aggregate_id, v_key),
      hint = 'Nothing was appended. Two texts have the same hash: name one of the aggregates differently.';
  end if;
  v_key := coalesce(v_key, v_given_key);
  v_name := format('the stream of %s %s', p_aggregate_type, coalesce(v_key, p_aggregate_id::text));
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
    select given.ordinality as place, compared.key into v_difference
    from jsonb_array_elements(p_events) with ordinality as given (event, ordinality)
    join event_store.domain_event as stored
      on stored.stream_id = p_stream_id and stored.aggregate_version = first_version + given.ordinality - 1
    cross join lateral (
      select case
        when stored.event_type <> given.event ->> 'event_type' then 'event_type'
        when stored.event_version <> coalesce((given.event ->> 'event_version')::integer, 1) then 'event_version'
        when stored.event_data <> given.event -> 'event_data'
          and not exists (
            select
            from event_store.redaction as redaction
            where redaction.stream_id = stored.stream_id and redaction.aggregate_version = stored.aggregate_version
          )
          then 'event_data'
      end
    ) as compared (key)
    where compared.key is not null
    order by given.ordinality
    limit 1;
    if not found then
      return;
    end if;
    v_code := 'UE004';
    v_message := format(
      'event %s of the append is already stored in %s, with another %s', v_difference.place, v_name, v_difference.key
    );
    v_hint := 'Nothing was appended. Retry a batch unchanged, or give new events new ids.';
  elsif v_known > 0 then
    v_code := 'UE004';
    v_message := format(
      '%s of %s event ids are already stored in %s%s',
      v_known, jsonb_array_length(p_events), v_name,
      case when v_known = jsonb_array_length(p_events) then ', but in another order' end
    );
    v_hint := 'Nothing was appended. Retry a batch unchanged, or give new events new ids.';
  elsif v_archived_at is not null then
    v_code := 'UE005';
    v_message := format('%s is archived', v_name);
    v_hint := 'Nothing was appended. An archived stream can be read; event_store.reopen_stream opens it to new events.';
  elsif v_expected > 0 and v_expected <> v_actual then
    v_code := 'UE001';
    v_message := format('%s is at version %s, not at version %s', v_name, v_actual, v_expected);
  elsif v_expected in (-1, 0) and v_actual > 0 then
    v_code := 'UE002';
    v_message := format('%s already exists, at version %s', v_name, v_actual);
  elsif v_expected = -4 and v_actual = 0 then
    v_code := 'UE003';
    v_message := format('%s does not exist', v_name);
  elsif p_advanced_from is null then
    return;
  else
    v_code := 'UE004';
    v_message := format('an event id of the append to %s is already taken, or is given twice', v_name);
    v_hint := 'Nothing was appended. Give each event its own id.';
  end if;
  raise exception using
    errcode = v_code,
    message = v_message,
    detail = event_store.append_detail(p_expected_version, v_actual, p_aggregate_type, p_aggregate_id, v_key),
    hint = v_hint;
end
$$;

comment on function event_store.append_refusal is
  'Raises the reason why an append stored nothing, unless it is a retry';
