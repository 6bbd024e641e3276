--
-- PostgreSQL database dump
--


SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: command_model; Type: SCHEMA; Schema: -; Owner: cqrs_owner
--

CREATE SCHEMA command_model;


ALTER SCHEMA command_model OWNER TO cqrs_owner;

--
-- Name: SCHEMA command_model; Type: COMMENT; Schema: -; Owner: cqrs_owner
--

COMMENT ON SCHEMA command_model IS 'Write side: the normalised domain model of the application';

--
-- Name: event_store; Type: SCHEMA; Schema: -; Owner: cqrs_owner
--

CREATE SCHEMA event_store;


ALTER SCHEMA event_store OWNER TO cqrs_owner;

--
-- Name: SCHEMA event_store; Type: COMMENT; Schema: -; Owner: cqrs_owner
--

COMMENT ON SCHEMA event_store IS 'Event store: immutable streams of events';

--
-- Name: read_model; Type: SCHEMA; Schema: -; Owner: cqrs_owner
--

CREATE SCHEMA read_model;


ALTER SCHEMA read_model OWNER TO cqrs_owner;

--
-- Name: SCHEMA read_model; Type: COMMENT; Schema: -; Owner: cqrs_owner
--

COMMENT ON SCHEMA read_model IS 'Read side: projections, denormalised for queries';

--
-- Name: read_model_next; Type: SCHEMA; Schema: -; Owner: cqrs_owner
--

CREATE SCHEMA read_model_next;


ALTER SCHEMA read_model_next OWNER TO cqrs_owner;

--
-- Name: SCHEMA read_model_next; Type: COMMENT; Schema: -; Owner: cqrs_owner
--

COMMENT ON SCHEMA read_model_next IS 'Tables of projection versions that are being built while older versions serve';

--
-- Name: pgcrypto; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;

--
-- Name: EXTENSION pgcrypto; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions';

--
-- Name: uuid-ossp; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;

--
-- Name: EXTENSION "uuid-ossp"; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION "uuid-ossp" IS 'generate universally unique identifiers (UUIDs)';

--
-- Name: append_result; Type: TYPE; Schema: event_store; Owner: cqrs_owner
--

CREATE TYPE event_store.append_result AS (
	stream_id uuid,
	first_version integer,
	last_version integer,
	last_position bigint,
	deduplicated boolean,
	sqlstate text,
	detail text,
	message text,
	positions bigint[]
);


ALTER TYPE event_store.append_result OWNER TO cqrs_owner;

--
-- Name: TYPE append_result; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TYPE event_store.append_result IS 'Result of one element of event_store.append_batch: where its events are stored, or the error';

--
-- Name: advance_named_stream(uuid, character varying, uuid, integer, integer, text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.advance_named_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text) RETURNS integer
    LANGUAGE plpgsql
    AS $$
declare
  v_version integer;
begin
  if lower(p_aggregate_key) = p_aggregate_id::text then
    return event_store.advance_stream(p_stream_id, p_aggregate_type, p_aggregate_id, p_expected_version, p_count);
  elsif octet_length(p_aggregate_key) not between 1 and 1024
    or p_aggregate_id is distinct from event_store.aggregate_id_of(p_aggregate_key)
    or exists (
      select from event_store.event_stream where stream_id = p_stream_id and aggregate_key <> p_aggregate_key
    )
  then
    return null;
  end if;
  v_version := event_store.advance_stream(
    p_stream_id, p_aggregate_type, p_aggregate_id, p_expected_version, p_count
  );
  if v_version is not null then
    update event_store.event_stream
    set aggregate_key = p_aggregate_key
    where stream_id = p_stream_id and aggregate_key is null;
  end if;
  return v_version;
end
$$;


ALTER FUNCTION event_store.advance_named_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION advance_named_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.advance_named_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text) IS 'Locks the stream of an aggregate that is named by text, checks its version and advances it, or creates it';

--
-- Name: advance_stream(uuid, character varying, uuid, integer, integer); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.advance_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
declare
  v_version integer;
begin
  if p_expected_version not in (-1, 0) then
    update event_store.event_stream
    set version = version + p_count
    where stream_id = p_stream_id
      and aggregate_id = p_aggregate_id
      -- Not "=", for which the planner would choose the index on this column while the table has no statistics.
      and aggregate_type is not distinct from p_aggregate_type
      and archived_at is null
      and (
        p_expected_version = -2
        or version = p_expected_version
        or (p_expected_version = -4 and version > 0)
      )
    returning version into v_version;
  end if;

  if v_version is null and p_expected_version in (-2, -1, 0)
    and p_stream_id = event_store.stream_id_of(p_aggregate_type, p_aggregate_id)
    and p_aggregate_type <> '' and length(p_aggregate_type) <= 255
  then
    insert into event_store.event_stream as stream (stream_id, aggregate_id, version, aggregate_type)
    values (p_stream_id, p_aggregate_id, p_count, p_aggregate_type)
    on conflict (stream_id) do update
    set version = stream.version + p_count
    where stream.archived_at is null
      and (p_expected_version = -2 or stream.version = 0)
    returning version into v_version;
  end if;
  return v_version;
end
$$;


ALTER FUNCTION event_store.advance_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer) OWNER TO cqrs_owner;

--
-- Name: FUNCTION advance_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.advance_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer) IS 'Locks a stream, checks its version and advances it, or creates it; null if the stream is not as expected';

--
-- Name: aggregate_id_of(text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.aggregate_id_of(aggregate_key text) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $_$
declare
  namespace constant bytea := '\x2f8ea4cf5b0a4d0c9c2b7d1f3e6a9b58';
  name constant bytea := convert_to(aggregate_key, 'UTF8');
  hash bytea;
begin
  if aggregate_key ~ '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$' then
    return aggregate_key::uuid;
  elsif length(name) not between 1 and 1024 then
    raise exception using
      errcode = 'UE007',
      message = format('the aggregate key has %s bytes; it must have 1 to 1024', length(name));
  end if;
  hash := public.digest(namespace || name, 'sha1');
  hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 80);
  hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
  return encode(substr(hash, 1, 16), 'hex')::uuid;
end
$_$;


ALTER FUNCTION event_store.aggregate_id_of(aggregate_key text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION aggregate_id_of(aggregate_key text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.aggregate_id_of(aggregate_key text) IS 'Derives the id of an aggregate that is named by text (UUIDv5)';

--
-- Name: append(uuid, character varying, uuid, integer, jsonb, text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text DEFAULT NULL::text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $_$
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
$_$;


ALTER FUNCTION event_store.append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean) IS 'Appends events to a stream atomically, with optimistic locking, and idempotently by event id';

--
-- Name: append_batch(jsonb); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append_batch(appends jsonb) RETURNS SETOF event_store.append_result
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
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


ALTER FUNCTION event_store.append_batch(appends jsonb) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append_batch(appends jsonb); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append_batch(appends jsonb) IS 'Appends to many streams in one statement; a refused element does not fail the others';

--
-- Name: append_detail(integer, integer, character varying, uuid, text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append_detail(expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT (json_object_agg(pair.key, pair.value ORDER BY pair.place))::text AS json_object_agg
    FROM ( VALUES (1,'expected'::text,to_json(append_detail.expected)), (2,'actual'::text,to_json(append_detail.actual)), (3,'aggregate_type'::text,to_json(append_detail.aggregate_type)), (4,'aggregate_id'::text,to_json(append_detail.aggregate_id)), (5,'aggregate_key'::text,to_json(append_detail.aggregate_key))) pair(place, key, value)
   WHERE ((pair.key <> 'aggregate_key'::text) OR (pair.value IS NOT NULL));
END;


ALTER FUNCTION event_store.append_detail(expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append_detail(expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append_detail(expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text) IS 'Builds the JSON detail of errors about a stream';

--
-- Name: append_element(jsonb); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append_element(append jsonb) RETURNS event_store.append_result
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


ALTER FUNCTION event_store.append_element(append jsonb) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append_element(append jsonb); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append_element(append jsonb) IS 'Appends one element of a batch; returns the error of a refused one instead of raising it';

--
-- Name: append_events(character varying, uuid, integer, jsonb[]); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]) RETURNS uuid
    LANGUAGE plpgsql
    AS $$
begin
  return (
    event_store.append(
      event_store.stream_id_of(p_aggregate_type, p_aggregate_id),
      p_aggregate_type,
      p_aggregate_id,
      p_expected_version,
      to_jsonb(p_events)
    )
  ).stream_id;
end
$$;


ALTER FUNCTION event_store.append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]) IS 'Appends an array of events to a stream atomically, with optimistic locking';

--
-- Name: append_problem(character varying, uuid, integer, jsonb, text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append_problem(aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
  known_keys constant text[] := array[
    'event_id', 'event_type', 'event_version', 'event_data', 'metadata', 'causation_id', 'correlation_id'
  ];
  event jsonb;
  place integer := 0;
  key text;
  problem text;
begin
  if coalesce(aggregate_type, '') = '' then
    return 'the aggregate type is missing';
  elsif length(aggregate_type) > 255 then
    return format('the aggregate type has %s characters; at most 255 are allowed', length(aggregate_type));
  elsif octet_length(aggregate_key) not between 1 and 1024 then
    return format('the aggregate key has %s bytes; it must have 1 to 1024', octet_length(aggregate_key));
  elsif aggregate_id is null then
    return 'the aggregate id is missing';
  elsif aggregate_id <> event_store.aggregate_id_of(aggregate_key) then
    return format(
      '%s is not the id of the aggregate key %s: pass event_store.aggregate_id_of(key)',
      aggregate_id, to_jsonb(left(aggregate_key, 100))
    );
  elsif expected_version < -2 and expected_version <> -4 then
    return format(
      '%s is not an expected version: pass a version, 0 for a new stream, -4 for an existing one, or null for any',
      expected_version
    );
  elsif coalesce(jsonb_typeof(events), 'null') = 'null' or events = '[]' then
    return 'there are no events to append';
  elsif jsonb_typeof(events) <> 'array' then
    return format('the events are a JSON %s, not a JSON array', jsonb_typeof(events));
  end if;

  for event in select jsonb_array_elements(events) loop
    place := place + 1;
    if jsonb_typeof(event) <> 'object' then
      return format('event %s is a JSON %s, not a JSON object', place, jsonb_typeof(event));
    end if;
    select name into key from jsonb_object_keys(event) as name where name <> all (known_keys) limit 1;
    if key is not null then
      return format('event %s has the unknown key %s', place, to_jsonb(key));
    elsif jsonb_typeof(event -> 'event_type') is distinct from 'string' or event ->> 'event_type' = '' then
      return format('event %s has no event_type that is a non-empty string', place);
    elsif length(event ->> 'event_type') > 255 then
      return format(
        'the event_type of event %s has %s characters; at most 255 are allowed',
        place, length(event ->> 'event_type')
      );
    elsif coalesce(event -> 'event_data', 'null') = 'null' then
      return format('event %s has no event_data; write {} for an event without data', place);
    elsif event ? 'event_version' and coalesce(event ->> 'event_version', '') !~ '^[1-9][0-9]{0,8}$' then
      return format(
        'the event_version of event %s is not an integer from 1 to 999999999: %s',
        place, left((event -> 'event_version')::text, 100)
      );
    end if;
    if event ->> 'event_id' is not null and not pg_input_is_valid(event ->> 'event_id', 'uuid') then
      return format('the event_id of event %s is not a UUID: %s', place, left((event -> 'event_id')::text, 100));
    end if;
    problem := coalesce(
      event_store.event_id_problem(event, 'causation_id', '$causationId', place),
      event_store.event_id_problem(event, 'correlation_id', '$correlationId', place)
    );
    if problem is not null then
      return problem;
    end if;
  end loop;
  return null;
end
$_$;


ALTER FUNCTION event_store.append_problem(aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append_problem(aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append_problem(aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text) IS 'Says why the arguments of an append are invalid';

--
-- Name: append_refusal(uuid, character varying, uuid, integer, jsonb, text, integer); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.append_refusal(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
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


ALTER FUNCTION event_store.append_refusal(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint) OWNER TO cqrs_owner;

--
-- Name: FUNCTION append_refusal(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.append_refusal(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint) IS 'Raises the reason why an append stored nothing, unless it is a retry';

--
-- Name: archive_stream(character varying, uuid, integer); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer DEFAULT NULL::integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
  v_version integer;
  v_key text;
begin
  update event_store.event_stream
  set archived_at = coalesce(archived_at, current_timestamp)
  where stream_id = event_store.stream_id_of(archive_stream.aggregate_type, archive_stream.aggregate_id)
    and version > 0
  returning version, aggregate_key into v_version, v_key;

  if v_version is null or v_version <> expected_version then
    raise exception using
      errcode = case when v_version is null then 'UE003' else 'UE001' end,
      message = format(
        case
          when v_version is null then 'the stream of %s %s does not exist'
          else 'the stream of %s %s is at version %s, not at version %s'
        end,
        archive_stream.aggregate_type, coalesce(v_key, archive_stream.aggregate_id::text), v_version, expected_version
      ),
      detail = event_store.append_detail(
        expected_version, coalesce(v_version, 0), archive_stream.aggregate_type, archive_stream.aggregate_id, v_key
      ),
      hint = 'Nothing was archived. Load the aggregate again and decide again.';
  end if;
  return v_version;
end
$$;


ALTER FUNCTION event_store.archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer) OWNER TO cqrs_owner;

--
-- Name: FUNCTION archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer) IS 'Closes a stream to new events';

--
-- Name: begin_epoch(text, bigint, boolean); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.begin_epoch(reason text, began_after bigint DEFAULT NULL::bigint, skip_positions boolean DEFAULT true) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_epoch uuid;
begin
  if coalesce(reason, '') = '' then
    raise exception using
      errcode = 'UE007',
      message = 'the reason is missing',
      hint = 'Say why the log continues from an earlier state, such as promoted replica-2.';
  elsif began_after < 0 then
    raise exception using
      errcode = 'UE007',
      message = format('began_after is %s; it must not be negative', began_after),
      hint = 'Pass a position of the log, 0 for its start, or leave it out.';
  end if;
  lock table event_store.domain_event in share row exclusive mode;
  if skip_positions then
    perform event_store.skip_positions();
  end if;
  insert into event_store.log_epoch as epoch (
    epoch_number, began_after, reason, system_identifier, timeline, database_oid, data_directory
  )
  select
    (select coalesce(max(earlier.epoch_number), 0) + 1 from event_store.log_epoch as earlier),
    -- The position of an event, so that readers can continue from it.
    coalesce(
      (
        select event.global_position
        from event_store.domain_event as event
        where begin_epoch.began_after is null or event.global_position <= begin_epoch.began_after
        order by event.global_position desc
        limit 1
      ),
      0
    ),
    begin_epoch.reason,
    identity.system_identifier,
    identity.timeline,
    identity.database_oid,
    identity.data_directory
  from event_store.server_identity() as identity
  returning epoch.epoch_id into v_epoch;
  return v_epoch;
end
$$;


ALTER FUNCTION event_store.begin_epoch(reason text, began_after bigint, skip_positions boolean) OWNER TO cqrs_owner;

--
-- Name: FUNCTION begin_epoch(reason text, began_after bigint, skip_positions boolean); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.begin_epoch(reason text, began_after bigint, skip_positions boolean) IS 'Begins a new epoch, so that checkpoints of readers that have seen events that are gone are refused';

--
-- Name: begin_redaction(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.begin_redaction() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('an event cannot be redacted in a %s transaction', current_setting('transaction_isolation')),
      detail = 'A snapshot that was saved after the transaction began would keep the erased data.',
      hint = 'Redact in a READ COMMITTED transaction, or outside a transaction.';
  end if;
  perform pg_advisory_xact_lock(event_store.redaction_lock_key(new.stream_id));
  return new;
end
$$;


ALTER FUNCTION event_store.begin_redaction() OWNER TO cqrs_owner;

--
-- Name: FUNCTION begin_redaction(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.begin_redaction() IS 'Waits for transactions that store what they have read from the stream of a redaction';

--
-- Name: check_checkpoint(bigint, uuid, uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.check_checkpoint(checkpoint bigint, event_id uuid DEFAULT NULL::uuid, epoch_id uuid DEFAULT NULL::uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
declare
  v_current uuid;
  v_number integer;
  v_branch bigint;
begin
  select epoch.epoch_id into v_current from event_store.log_epoch as epoch order by epoch.epoch_number desc limit 1;
  if coalesce(checkpoint, 0) <= 0 then
    return v_current;
  elsif epoch_id is distinct from v_current and (epoch_id is not null or event_id is null) then
    if epoch_id is not null then
      select epoch.epoch_number into v_number from event_store.log_epoch as epoch where epoch.epoch_id = epoch_id;
      if v_number is null then
        perform event_store.refuse_checkpoint(
          checkpoint, epoch_id, null, format('is of epoch %s, which is not in this log', epoch_id)
        );
      end if;
    end if;
    select min(epoch.began_after) into v_branch
    from event_store.log_epoch as epoch
    where epoch.epoch_number > coalesce(v_number, 1);
    if checkpoint > v_branch then
      perform event_store.refuse_checkpoint(
        checkpoint, epoch_id, v_branch, format('is beyond position %s, where a later epoch began', v_branch)
      );
    end if;
  end if;

  if checkpoint > event_store.last_drawn_position() then
    perform event_store.refuse_checkpoint(
      checkpoint,
      epoch_id,
      null,
      format('is beyond the last position drawn, %s', event_store.last_drawn_position())
    );
  elsif event_id is not null and not exists (
    select
    from event_store.domain_event as event
    where event.global_position = checkpoint and event.event_id = event_id
  ) then
    perform event_store.refuse_checkpoint(
      checkpoint, epoch_id, null, format('is of event %s, which is not there', event_id)
    );
  end if;
  return v_current;
end
$$;


ALTER FUNCTION event_store.check_checkpoint(checkpoint bigint, event_id uuid, epoch_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION check_checkpoint(checkpoint bigint, event_id uuid, epoch_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.check_checkpoint(checkpoint bigint, event_id uuid, epoch_id uuid) IS 'Refuses a checkpoint if the log was rewound since it was made; returns the current epoch';

--
-- Name: check_redaction(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.check_redaction() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_is_open boolean;
begin
  if tg_level = 'STATEMENT' then
    v_is_open := exists (select from event_store.redaction where transaction_id = pg_current_xact_id_if_assigned());
  else
    v_is_open := exists (
      select from event_store.redaction
      where stream_id = old.stream_id
        and aggregate_version = old.aggregate_version
        and transaction_id = pg_current_xact_id()
    )
    and (to_jsonb(new) - '{event_data,metadata}'::text[]) = (to_jsonb(old) - '{event_data,metadata}'::text[]);
  end if;
  if not v_is_open then
    raise exception using
      errcode = 'UE006',
      message = format('events are immutable: %s of %I.%I is refused', lower(tg_op), tg_table_schema, tg_table_name),
      detail = json_build_object('operation', lower(tg_op), 'schema', tg_table_schema, 'table', tg_table_name)::text,
      hint = 'Append an event that corrects the earlier one; to erase data, see event_store.redact_event.';
  end if;
  return new;
end
$$;


ALTER FUNCTION event_store.check_redaction() OWNER TO cqrs_owner;

--
-- Name: FUNCTION check_redaction(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.check_redaction() IS 'Refuses to update an event, except for a recorded redaction of its data';

--
-- Name: element_aggregate_id(jsonb); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.element_aggregate_id(append jsonb) RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
declare
  id constant text := append ->> 'aggregate_id';
  key constant text := append ->> 'aggregate_key';
begin
  if pg_input_is_valid(id, 'uuid') then
    return id::uuid;
  elsif id is null and octet_length(key) between 1 and 1024 then
    return event_store.aggregate_id_of(key);
  end if;
  return null;
end
$$;


ALTER FUNCTION event_store.element_aggregate_id(append jsonb) OWNER TO cqrs_owner;

--
-- Name: FUNCTION element_aggregate_id(append jsonb); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.element_aggregate_id(append jsonb) IS 'Returns the id of the aggregate of an element of a batch';

--
-- Name: server_identity(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.server_identity(OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text) RETURNS record
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT control.system_identifier,
         CASE
             WHEN (NOT pg_is_in_recovery()) THEN ((('x'::text || "left"(pg_walfile_name(pg_current_wal_lsn()), 8)))::bit(32))::integer
             ELSE NULL::integer
         END AS "case",
     ( SELECT pg_database.oid
            FROM pg_database
           WHERE (pg_database.datname = current_database())) AS oid,
         CASE
             WHEN (NOT pg_is_in_recovery()) THEN ( SELECT pg_settings.setting
                FROM pg_settings
               WHERE (pg_settings.name = 'data_directory'::text))
             ELSE NULL::text
         END AS "case"
    FROM pg_control_system() control(pg_control_version, catalog_version_no, system_identifier, pg_control_last_modified);
END;


ALTER FUNCTION event_store.server_identity(OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION server_identity(OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.server_identity(OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text) IS 'Identifies the cluster, its timeline, the database and the data directory';


SET default_table_access_method = heap;

--
-- Name: log_epoch; Type: TABLE; Schema: event_store; Owner: cqrs_owner
--

CREATE TABLE event_store.log_epoch (
    epoch_number integer NOT NULL,
    epoch_id uuid DEFAULT gen_random_uuid() NOT NULL,
    began_after bigint NOT NULL,
    reason text NOT NULL,
    began_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    database_oid oid NOT NULL,
    data_directory text,
    CONSTRAINT log_epoch_began_after_is_not_negative CHECK ((began_after >= 0)),
    CONSTRAINT log_epoch_epoch_number_is_positive CHECK ((epoch_number >= 1)),
    CONSTRAINT log_epoch_reason_is_not_empty CHECK ((reason <> ''::text))
);


ALTER TABLE event_store.log_epoch OWNER TO cqrs_owner;

--
-- Name: TABLE log_epoch; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TABLE event_store.log_epoch IS 'Epochs of the log: one begins each time the log continues from an earlier state';

--
-- Name: COLUMN log_epoch.epoch_number; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.epoch_number IS 'Number of the epoch in this log; the first one is 1';

--
-- Name: COLUMN log_epoch.epoch_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.epoch_id IS 'Random ID; checkpoints made in the epoch contain it';

--
-- Name: COLUMN log_epoch.began_after; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.began_after IS 'Position up to which the log is the same as in the epochs before';

--
-- Name: COLUMN log_epoch.reason; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.reason IS 'Why the epoch began, such as a restore';

--
-- Name: COLUMN log_epoch.began_at; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.began_at IS 'When the epoch began';

--
-- Name: COLUMN log_epoch.system_identifier; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.system_identifier IS 'System identifier of the cluster that the epoch began in';

--
-- Name: COLUMN log_epoch.timeline; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.timeline IS 'Timeline of the cluster when the epoch began';

--
-- Name: COLUMN log_epoch.database_oid; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.database_oid IS 'OID of the database that the epoch began in';

--
-- Name: COLUMN log_epoch.data_directory; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.log_epoch.data_directory IS 'Data directory of the cluster; null if the owner is no member of pg_read_all_settings';

--
-- Name: epoch_mismatch(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.epoch_mismatch() RETURNS TABLE(fact text, recorded text, actual text)
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT difference.fact,
     difference.recorded,
     difference.actual
    FROM ((( SELECT log_epoch.epoch_number,
             log_epoch.epoch_id,
             log_epoch.began_after,
             log_epoch.reason,
             log_epoch.began_at,
             log_epoch.system_identifier,
             log_epoch.timeline,
             log_epoch.database_oid,
             log_epoch.data_directory
            FROM event_store.log_epoch
           ORDER BY log_epoch.epoch_number DESC
          LIMIT 1) epoch
      CROSS JOIN event_store.server_identity() server(system_identifier, timeline, database_oid, data_directory))
      CROSS JOIN LATERAL ( VALUES ('system identifier'::text,(epoch.system_identifier)::text,(server.system_identifier)::text), ('timeline'::text,(epoch.timeline)::text,(COALESCE(server.timeline, epoch.timeline))::text), ('database'::text,(epoch.database_oid)::text,(server.database_oid)::text), ('data directory'::text,epoch.data_directory,server.data_directory)) difference(fact, recorded, actual))
   WHERE (difference.recorded <> difference.actual);
END;


ALTER FUNCTION event_store.epoch_mismatch() OWNER TO cqrs_owner;

--
-- Name: FUNCTION epoch_mismatch(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.epoch_mismatch() IS 'How this server differs from the one in which the current epoch of the log began; if it does, begin a new epoch';

--
-- Name: event_id_problem(jsonb, text, text, integer); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.event_id_problem(event jsonb, key text, metadata_key text, place integer) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  id constant text := event ->> key;
  metadata constant jsonb := coalesce(nullif(event -> 'metadata', 'null'), '{}');
begin
  if event_store.is_text_id(event, key) is not true then
    return null;
  elsif jsonb_typeof(event -> key) <> 'string' or octet_length(id) not between 1 and 1024 then
    return format(
      'the %s of event %s is neither a UUID nor text of 1 to 1024 bytes: %s',
      key, place, left((event -> key)::text, 100)
    );
  elsif jsonb_typeof(metadata) <> 'object' then
    return format(
      'the %s of event %s is no UUID, so it is kept in the metadata, but that is a JSON %s, not a JSON object',
      key, place, jsonb_typeof(metadata)
    );
  elsif metadata -> metadata_key <> event -> key then
    return format('the metadata of event %s has another %s than its %s', place, metadata_key, key);
  end if;
  return null;
end
$$;


ALTER FUNCTION event_store.event_id_problem(event jsonb, key text, metadata_key text, place integer) OWNER TO cqrs_owner;

--
-- Name: FUNCTION event_id_problem(event jsonb, key text, metadata_key text, place integer); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.event_id_problem(event jsonb, key text, metadata_key text, place integer) IS 'Says why a causation or correlation id of an event is invalid';

--
-- Name: find_positions(uuid, text[], text[], bigint, bigint, integer); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer) RETURNS bigint[]
    LANGUAGE plpgsql
    AS $$
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


ALTER FUNCTION event_store.find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer) OWNER TO cqrs_owner;

--
-- Name: FUNCTION find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer) IS 'Finds the next events of a stream, or of aggregate types with few streams, through their streams';

--
-- Name: hold_off_redaction(uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.hold_off_redaction(p_stream_id uuid) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
begin
  return current_setting('transaction_isolation') = 'read committed'
    and pg_try_advisory_xact_lock_shared(event_store.redaction_lock_key(p_stream_id));
end
$$;


ALTER FUNCTION event_store.hold_off_redaction(p_stream_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION hold_off_redaction(p_stream_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.hold_off_redaction(p_stream_id uuid) IS 'Lets no redaction of a stream begin until this transaction ends; false if one is in progress';

--
-- Name: horizon_holder(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.horizon_holder() RETURNS TABLE(held_position bigint, pid integer, gid text, login name, application_name text, state text, since timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT ((((floor.classid)::bigint & (65535)::bigint) << 32) | (floor.objid)::bigint),
     floor.pid,
     prepared.gid,
     COALESCE(session.usename, prepared.owner) AS "coalesce",
     NULLIF(session.application_name, ''::text) AS "nullif",
         CASE
             WHEN (prepared.gid IS NOT NULL) THEN 'prepared'::text
             ELSE session.state
         END AS state,
     COALESCE(session.xact_start, prepared.prepared) AS "coalesce"
    FROM (((pg_locks floor
      LEFT JOIN pg_stat_activity session ON ((session.pid = floor.pid)))
      LEFT JOIN pg_locks identity ON (((floor.pid IS NULL) AND (identity.locktype = 'transactionid'::text) AND (identity.virtualtransaction = floor.virtualtransaction))))
      LEFT JOIN pg_prepared_xacts prepared ON ((prepared.transaction = identity.transactionid)))
   WHERE ((floor.locktype = 'advisory'::text) AND (floor.objsubid = 1) AND (((floor.classid)::bigint >> 16) = 229) AND (floor.mode = 'ShareLock'::text) AND floor.granted AND (floor.database = ( SELECT pg_database.oid
            FROM pg_database
           WHERE (pg_database.datname = current_database()))))
   ORDER BY ((((floor.classid)::bigint & (65535)::bigint) << 32) | (floor.objid)::bigint), COALESCE(session.xact_start, prepared.prepared);
END;


ALTER FUNCTION event_store.horizon_holder() OWNER TO cqrs_owner;

--
-- Name: FUNCTION horizon_holder(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.horizon_holder() IS 'Transactions that hold back the end of the readable log, and since when';

--
-- Name: is_event(jsonb); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.is_event(event jsonb) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT
         CASE
             WHEN (jsonb_typeof(event) = 'object'::text) THEN (((event - '{event_id,event_type,event_version,event_data,metadata,causation_id,correlation_id}'::text[]) = '{}'::jsonb) AND (NOT (jsonb_typeof((event -> 'event_type'::text)) IS DISTINCT FROM 'string'::text)) AND ((length((event ->> 'event_type'::text)) >= 1) AND (length((event ->> 'event_type'::text)) <= 255)) AND (COALESCE((event -> 'event_data'::text), 'null'::jsonb) <> 'null'::jsonb) AND ((NOT (event ? 'event_version'::text)) OR (COALESCE((event ->> 'event_version'::text), ''::text) ~ '^[1-9][0-9]{0,8}$'::text)) AND (((event ->> 'event_id'::text) IS NULL) OR pg_input_is_valid((event ->> 'event_id'::text), 'uuid'::text)) AND (((event ->> 'causation_id'::text) IS NULL) OR pg_input_is_valid((event ->> 'causation_id'::text), 'uuid'::text)) AND (((event ->> 'correlation_id'::text) IS NULL) OR pg_input_is_valid((event ->> 'correlation_id'::text), 'uuid'::text)))
             ELSE false
         END AS "case";
END;


ALTER FUNCTION event_store.is_event(event jsonb) OWNER TO cqrs_owner;

--
-- Name: FUNCTION is_event(event jsonb); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.is_event(event jsonb) IS 'Whether a JSON value is a valid event';

--
-- Name: is_text_id(jsonb, text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.is_text_id(event jsonb, key text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT ((event ->> key) !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'::text);
END;


ALTER FUNCTION event_store.is_text_id(event jsonb, key text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION is_text_id(event jsonb, key text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.is_text_id(event jsonb, key text) IS 'Whether a causation or correlation id of an event is no UUID';

--
-- Name: keep_text_ids(jsonb); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.keep_text_ids(events jsonb) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT jsonb_agg(
         CASE
             WHEN (kept.ids IS NULL) THEN given.event
             ELSE ((given.event - kept.keys) || jsonb_build_object('metadata', (COALESCE(NULLIF((given.event -> 'metadata'::text), 'null'::jsonb), '{}'::jsonb) || kept.ids)))
         END ORDER BY given.place) AS jsonb_agg
    FROM (jsonb_array_elements(keep_text_ids.events) WITH ORDINALITY given(event, place)
      CROSS JOIN LATERAL ( SELECT jsonb_object_agg(known.metadata_key, (given.event -> known.key)) AS jsonb_object_agg,
             array_agg(known.key) AS array_agg
            FROM ( VALUES ('causation_id'::text,'$causationId'::text), ('correlation_id'::text,'$correlationId'::text)) known(key, metadata_key)
           WHERE ((jsonb_typeof(given.event) = 'object'::text) AND event_store.is_text_id(given.event, known.key) AND (event_store.event_id_problem(given.event, known.key, known.metadata_key, 0) IS NULL))) kept(ids, keys));
END;


ALTER FUNCTION event_store.keep_text_ids(events jsonb) OWNER TO cqrs_owner;

--
-- Name: FUNCTION keep_text_ids(events jsonb); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.keep_text_ids(events jsonb) IS 'Moves causation and correlation ids that are no UUIDs into the metadata';

--
-- Name: domain_event; Type: TABLE; Schema: event_store; Owner: cqrs_owner
--

CREATE TABLE event_store.domain_event (
    global_position bigint NOT NULL,
    occurred_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    event_id uuid DEFAULT gen_random_uuid() NOT NULL,
    stream_id uuid NOT NULL,
    aggregate_version integer NOT NULL,
    event_version integer DEFAULT 1 NOT NULL,
    event_type character varying(255) NOT NULL,
    event_data jsonb NOT NULL,
    metadata jsonb,
    causation_id uuid,
    correlation_id uuid,
    CONSTRAINT domain_event_aggregate_version_is_positive CHECK ((aggregate_version >= 1)),
    CONSTRAINT domain_event_event_type_is_not_empty CHECK (((event_type)::text <> ''::text)),
    CONSTRAINT domain_event_event_version_is_positive CHECK ((event_version >= 1))
);
ALTER TABLE ONLY event_store.domain_event ALTER COLUMN event_data SET STATISTICS 0;
ALTER TABLE ONLY event_store.domain_event ALTER COLUMN metadata SET STATISTICS 0;


ALTER TABLE event_store.domain_event OWNER TO cqrs_owner;

--
-- Name: TABLE domain_event; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TABLE event_store.domain_event IS 'Immutable domain events of all streams';

--
-- Name: COLUMN domain_event.global_position; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.global_position IS 'Position in the log of all streams; increasing, with gaps';

--
-- Name: COLUMN domain_event.occurred_at; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.occurred_at IS 'Start of the transaction that appended the event, unless it was inserted with another time';

--
-- Name: COLUMN domain_event.event_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.event_id IS 'Unique ID of the event; makes an append idempotent';

--
-- Name: COLUMN domain_event.stream_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.stream_id IS 'The stream of the event';

--
-- Name: COLUMN domain_event.aggregate_version; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.aggregate_version IS 'Version of the aggregate after this event';

--
-- Name: COLUMN domain_event.event_version; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.event_version IS 'Version of the event''s schema, for upcasting';

--
-- Name: COLUMN domain_event.event_type; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.event_type IS 'Type of the event, such as OrderPlaced';

--
-- Name: COLUMN domain_event.event_data; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.event_data IS 'What happened';

--
-- Name: COLUMN domain_event.metadata; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.metadata IS 'Context of the event: user, tenant, trace';

--
-- Name: COLUMN domain_event.causation_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.causation_id IS 'ID of the command that caused the event';

--
-- Name: COLUMN domain_event.correlation_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.domain_event.correlation_id IS 'Correlation ID shared by related events';

--
-- Name: domain_event_global_position; Type: SEQUENCE; Schema: event_store; Owner: cqrs_owner
--

CREATE SEQUENCE event_store.domain_event_global_position
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER SEQUENCE event_store.domain_event_global_position OWNER TO cqrs_owner;

--
-- Name: domain_event_global_position; Type: SEQUENCE OWNED BY; Schema: event_store; Owner: cqrs_owner
--

ALTER SEQUENCE event_store.domain_event_global_position OWNED BY event_store.domain_event.global_position;

--
-- Name: SEQUENCE domain_event_global_position; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON SEQUENCE event_store.domain_event_global_position IS 'Source of the global positions of events';

--
-- Name: last_drawn_position(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.last_drawn_position() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT
         CASE
             WHEN domain_event_global_position.is_called THEN domain_event_global_position.last_value
             ELSE (domain_event_global_position.last_value - 1)
         END AS "case"
    FROM event_store.domain_event_global_position;
END;


ALTER FUNCTION event_store.last_drawn_position() OWNER TO cqrs_owner;

--
-- Name: FUNCTION last_drawn_position(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.last_drawn_position() IS 'Last position that was drawn; no event has a higher one';

--
-- Name: stream_id_of(character varying, uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.stream_id_of(aggregate_type character varying, aggregate_id uuid) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
declare
  namespace constant bytea := '\x6dd05592e45b4368838faefdd7d64854';
  hash bytea;
begin
  hash := public.digest(namespace || convert_to(aggregate_type || ':' || aggregate_id, 'UTF8'), 'sha1');
  hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 80);
  hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
  return encode(substr(hash, 1, 16), 'hex')::uuid;
end
$$;


ALTER FUNCTION event_store.stream_id_of(aggregate_type character varying, aggregate_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION stream_id_of(aggregate_type character varying, aggregate_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.stream_id_of(aggregate_type character varying, aggregate_id uuid) IS 'Derives the id of an aggregate''s stream (UUIDv5)';

--
-- Name: snapshot; Type: TABLE; Schema: event_store; Owner: cqrs_owner
--

CREATE TABLE event_store.snapshot (
    stream_id uuid NOT NULL,
    taken_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    aggregate_version integer NOT NULL,
    state_version integer NOT NULL,
    state jsonb NOT NULL,
    redactions bigint DEFAULT 0 NOT NULL,
    CONSTRAINT snapshot_aggregate_version_is_positive CHECK ((aggregate_version >= 1)),
    CONSTRAINT snapshot_state_version_is_positive CHECK ((state_version >= 1))
);
ALTER TABLE ONLY event_store.snapshot ALTER COLUMN state SET STATISTICS 0;


ALTER TABLE event_store.snapshot OWNER TO cqrs_owner;

--
-- Name: TABLE snapshot; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TABLE event_store.snapshot IS 'State of an aggregate at a version, so that loading it needs only the events after that version';

--
-- Name: COLUMN snapshot.stream_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.snapshot.stream_id IS 'The stream whose events were folded into the state';

--
-- Name: COLUMN snapshot.taken_at; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.snapshot.taken_at IS 'When the snapshot was saved';

--
-- Name: COLUMN snapshot.aggregate_version; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.snapshot.aggregate_version IS 'Version of the last event included';

--
-- Name: COLUMN snapshot.state_version; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.snapshot.state_version IS 'Version of the state''s format; code that folds events differently uses another one';

--
-- Name: COLUMN snapshot.state; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.snapshot.state IS 'The state';

--
-- Name: COLUMN snapshot.redactions; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.snapshot.redactions IS 'Number of redactions, of events up to aggregate_version, that the state reflects';

--
-- Name: load_snapshot(character varying, uuid, integer); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer) RETURNS TABLE(aggregate_version integer, state jsonb, taken_at timestamp with time zone)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT snapshot.aggregate_version,
     snapshot.state,
     snapshot.taken_at
    FROM event_store.snapshot
   WHERE ((snapshot.stream_id = event_store.stream_id_of(load_snapshot.aggregate_type, load_snapshot.aggregate_id)) AND (snapshot.state_version = load_snapshot.state_version));
END;


ALTER FUNCTION event_store.load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer) OWNER TO cqrs_owner;

--
-- Name: FUNCTION load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer) IS 'Returns the snapshot of an aggregate';

--
-- Name: publish_floor(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.publish_floor() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  v_transaction constant text := pg_current_xact_id()::text;
  v_floor bigint;
begin
  if current_setting('cqrs.floor_xid', true) is distinct from v_transaction then
    -- Null if no position was ever drawn.
    v_floor := coalesce(pg_sequence_last_value('event_store.domain_event_global_position'), 0);
    if v_floor >= 1::bigint << 48 then
      raise exception using
        errcode = 'program_limit_exceeded',
        message = format(
          'the event store has run out of positions: the last one is %s, the limit is %s',
          v_floor, (1::bigint << 48) - 1
        );
    end if;
    perform pg_advisory_xact_lock_shared((229::bigint << 48) | v_floor);
    perform set_config('cqrs.floor_xid', v_transaction, true);
    -- A projection's commits do not wait for the disk. If its code appends, they must: a crash would take back events
    -- that readers have seen.
    if current_setting('cqrs.projection', true) = 'on' then
      perform set_config('synchronous_commit', 'on', true);
    end if;
  end if;
  return null;
end
$$;


ALTER FUNCTION event_store.publish_floor() OWNER TO cqrs_owner;

--
-- Name: FUNCTION publish_floor(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.publish_floor() IS 'Publishes the position below which this transaction will draw none';

--
-- Name: read_all(bigint, integer, text[], text[], bigint, uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.read_all(after_position bigint, max_count integer DEFAULT 1000, event_types text[] DEFAULT NULL::text[], aggregate_types text[] DEFAULT NULL::text[], up_to_position bigint DEFAULT NULL::bigint, of_stream uuid DEFAULT NULL::uuid) RETURNS TABLE(global_position bigint, stream_id uuid, aggregate_type character varying, aggregate_id uuid, aggregate_version integer, event_id uuid, event_type character varying, event_version integer, event_data jsonb, metadata jsonb, causation_id uuid, correlation_id uuid, occurred_at timestamp with time zone, aggregate_key text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET random_page_cost TO '0'
    SET seq_page_cost TO '0'
    AS $$
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


ALTER FUNCTION event_store.read_all(after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION read_all(after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.read_all(after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid) IS 'Reads the log of all streams as far as it is complete';

--
-- Name: event_stream; Type: TABLE; Schema: event_store; Owner: cqrs_owner
--

CREATE TABLE event_store.event_stream (
    stream_id uuid NOT NULL,
    aggregate_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    version integer DEFAULT 0 NOT NULL,
    aggregate_type character varying(255) NOT NULL,
    archived_at timestamp with time zone,
    aggregate_key text,
    CONSTRAINT event_stream_aggregate_type_is_not_empty CHECK (((aggregate_type)::text <> ''::text)),
    CONSTRAINT event_stream_version_is_not_negative CHECK ((version >= 0))
)
WITH (fillfactor='70');


ALTER TABLE event_store.event_stream OWNER TO cqrs_owner;

--
-- Name: TABLE event_stream; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TABLE event_store.event_stream IS 'One row per aggregate: the stream of its events';

--
-- Name: COLUMN event_stream.stream_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.stream_id IS 'Derived from aggregate_type and aggregate_id by event_store.stream_id_of';

--
-- Name: COLUMN event_stream.aggregate_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.aggregate_id IS 'ID of the aggregate';

--
-- Name: COLUMN event_stream.created_at; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.created_at IS 'When the first event was appended';

--
-- Name: COLUMN event_stream.version; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.version IS 'Version of the last event, compared by appends (optimistic locking)';

--
-- Name: COLUMN event_stream.aggregate_type; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.aggregate_type IS 'Type of the aggregate, such as Order';

--
-- Name: COLUMN event_stream.archived_at; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.archived_at IS 'When the stream was closed to new events; null while it is open';

--
-- Name: COLUMN event_stream.aggregate_key; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.event_stream.aggregate_key IS 'Text from which aggregate_id is derived; null if the aggregate is named by a UUID';

--
-- Name: read_stream(character varying, uuid, integer, integer, boolean, integer, timestamp with time zone, text[]); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer DEFAULT 0, max_count integer DEFAULT 1000, backwards boolean DEFAULT false, up_to_version integer DEFAULT NULL::integer, up_to_time timestamp with time zone DEFAULT NULL::timestamp with time zone, event_types text[] DEFAULT NULL::text[]) RETURNS TABLE(global_position bigint, stream_id uuid, aggregate_type character varying, aggregate_id uuid, aggregate_version integer, event_id uuid, event_type character varying, event_version integer, event_data jsonb, metadata jsonb, causation_id uuid, correlation_id uuid, occurred_at timestamp with time zone, aggregate_key text)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
( SELECT event.global_position,
     event.stream_id,
     read_stream.aggregate_type AS aggregate_type,
     read_stream.aggregate_id AS aggregate_id,
     event.aggregate_version,
     event.event_id,
     event.event_type,
     event.event_version,
     event.event_data,
     event.metadata,
     event.causation_id,
     event.correlation_id,
     event.occurred_at,
     ( SELECT stream.aggregate_key
            FROM event_store.event_stream stream
           WHERE (stream.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id))) AS aggregate_key
    FROM event_store.domain_event event
   WHERE ((NOT read_stream.backwards) AND (event.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id)) AND (event.aggregate_version > COALESCE(read_stream.after_version, 0)) AND (event.aggregate_version <= COALESCE(read_stream.up_to_version, 2147483647)) AND ((read_stream.up_to_time IS NULL) OR (event.occurred_at <= read_stream.up_to_time)) AND ((read_stream.event_types IS NULL) OR (((event.event_type)::text = ANY (read_stream.event_types)) IS TRUE)))
   ORDER BY event.stream_id, event.aggregate_version
  LIMIT read_stream.max_count)
 UNION ALL
 ( SELECT event.global_position,
     event.stream_id,
     read_stream.aggregate_type AS aggregate_type,
     read_stream.aggregate_id AS aggregate_id,
     event.aggregate_version,
     event.event_id,
     event.event_type,
     event.event_version,
     event.event_data,
     event.metadata,
     event.causation_id,
     event.correlation_id,
     event.occurred_at,
     ( SELECT stream.aggregate_key
            FROM event_store.event_stream stream
           WHERE (stream.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id))) AS aggregate_key
    FROM event_store.domain_event event
   WHERE (read_stream.backwards AND (event.stream_id = event_store.stream_id_of(read_stream.aggregate_type, read_stream.aggregate_id)) AND (event.aggregate_version < COALESCE(read_stream.after_version, 2147483647)) AND (event.aggregate_version <= COALESCE(read_stream.up_to_version, 2147483647)) AND ((read_stream.up_to_time IS NULL) OR (event.occurred_at <= read_stream.up_to_time)) AND ((read_stream.event_types IS NULL) OR (((event.event_type)::text = ANY (read_stream.event_types)) IS TRUE)))
   ORDER BY event.stream_id DESC, event.aggregate_version DESC
  LIMIT read_stream.max_count);
END;


ALTER FUNCTION event_store.read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]) OWNER TO cqrs_owner;

--
-- Name: FUNCTION read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]) IS 'Reads the events of one aggregate, forwards or backwards';

--
-- Name: redact_event(character varying, uuid, integer, text, jsonb, jsonb); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.redact_event(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb DEFAULT '{}'::jsonb, metadata jsonb DEFAULT NULL::jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
  v_stream_id constant uuid := event_store.stream_id_of(aggregate_type, aggregate_id);
  v_version constant integer := redact_event.aggregate_version;
  v_key text;
begin
  if coalesce(btrim(reason), '') = '' or coalesce(redact_event.event_data, 'null') = 'null' then
    raise exception using
      errcode = 'UE007',
      message = 'a redaction needs a reason and replacement data',
      hint = 'Nothing was changed. Pass {} to erase the data.';
  end if;

  insert into event_store.redaction (stream_id, aggregate_version, reason)
  values (v_stream_id, v_version, reason)
  on conflict do nothing;

  update event_store.domain_event
  set event_data = redact_event.event_data, metadata = nullif(redact_event.metadata, 'null')
  where stream_id = v_stream_id and aggregate_version = v_version;
  if not found then
    select aggregate_key into v_key from event_store.event_stream where stream_id = v_stream_id;
    raise exception using
      errcode = 'UE003',
      message = format(
        '%s %s has no event %s', aggregate_type, coalesce(v_key, aggregate_id::text), v_version
      ),
      detail = event_store.append_detail(v_version, null, aggregate_type, aggregate_id, v_key),
      hint = 'Nothing was changed. Pass the version of a stored event.';
  end if;

  delete from event_store.snapshot where stream_id = v_stream_id and aggregate_version >= v_version;
end
$$;


ALTER FUNCTION event_store.redact_event(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb, metadata jsonb) OWNER TO cqrs_owner;

--
-- Name: FUNCTION redact_event(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb, metadata jsonb); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.redact_event(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb, metadata jsonb) IS 'Replaces the data of one event that has to be erased, and records the redaction';

--
-- Name: redaction_lock_key(uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.redaction_lock_key(p_stream_id uuid) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select 230::bigint << 48 | (pg_catalog.uuid_hash_extended(p_stream_id, 0) & 1023)
$$;


ALTER FUNCTION event_store.redaction_lock_key(p_stream_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION redaction_lock_key(p_stream_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.redaction_lock_key(p_stream_id uuid) IS 'Key of the advisory lock between redactions of a stream and those who store what they have read from it';

--
-- Name: refuse_change(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception using
    errcode = 'UE006',
    message = format('events are immutable: %s of %I.%I is refused', lower(tg_op), tg_table_schema, tg_table_name),
    detail = json_build_object('operation', lower(tg_op), 'schema', tg_table_schema, 'table', tg_table_name)::text,
    hint = 'Append an event that corrects the earlier one; to erase data, see event_store.redact_event.';
end
$$;


ALTER FUNCTION event_store.refuse_change() OWNER TO cqrs_owner;

--
-- Name: FUNCTION refuse_change(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.refuse_change() IS 'Refuses to change or remove events and redactions';

--
-- Name: refuse_checkpoint(bigint, uuid, bigint, text); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.refuse_checkpoint(p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  perform event_store.safe_position();
  raise exception using
    errcode = 'UE008',
    message = format('the log was rewound: the checkpoint at position %s %s', p_position, p_problem),
    detail = json_build_object(
      'checkpoint', p_position,
      'checkpoint_epoch', p_epoch_id,
      'epoch', (select epoch_id from event_store.log_epoch order by epoch_number desc limit 1),
      'branch_position', p_branch_position,
      'branch_event', (
        select event_id
        from event_store.domain_event
        where global_position = p_branch_position
      )
    )::text,
    hint = case
      when p_branch_position is null
        then 'Discard what the reader has derived from the log, and read it from the beginning.'
      else format(
        'Discard what the reader has derived from events after position %s, and continue from there.',
        p_branch_position
      )
    end;
end
$$;


ALTER FUNCTION event_store.refuse_checkpoint(p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text) OWNER TO cqrs_owner;

--
-- Name: FUNCTION refuse_checkpoint(p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.refuse_checkpoint(p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text) IS 'Raises UE008 with the epoch, the branch position and the checkpoint';

--
-- Name: reopen_stream(character varying, uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.reopen_stream(aggregate_type character varying, aggregate_id uuid) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
  v_version integer;
begin
  update event_store.event_stream
  set archived_at = null
  where stream_id = event_store.stream_id_of(reopen_stream.aggregate_type, reopen_stream.aggregate_id)
    and version > 0
  returning version into v_version;

  if v_version is null then
    raise exception using
      errcode = 'UE003',
      message = format(
        'the stream of %s %s does not exist', reopen_stream.aggregate_type, reopen_stream.aggregate_id
      ),
      detail = event_store.append_detail(null, 0, reopen_stream.aggregate_type, reopen_stream.aggregate_id, null),
      hint = 'Nothing was changed. Check the type and the id of the aggregate.';
  end if;
  return v_version;
end
$$;


ALTER FUNCTION event_store.reopen_stream(aggregate_type character varying, aggregate_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION reopen_stream(aggregate_type character varying, aggregate_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.reopen_stream(aggregate_type character varying, aggregate_id uuid) IS 'Opens an archived stream to new events again';

--
-- Name: resume_log(bigint, uuid, uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.resume_log(checkpoint bigint, event_id uuid DEFAULT NULL::uuid, epoch_id uuid DEFAULT NULL::uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
begin
  if checkpoint is null then
    safe_position := event_store.safe_position();
    return;
  end if;
  current_epoch_id := event_store.check_checkpoint(checkpoint, event_id, epoch_id);
  safe_position := event_store.safe_position();
  select event.event_id into safe_event_id
  from event_store.domain_event as event
  where event.global_position = safe_position;
end
$$;


ALTER FUNCTION event_store.resume_log(checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION resume_log(checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.resume_log(checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid) IS 'Checks a checkpoint and returns how far the log is complete, with what the next checkpoint needs';

--
-- Name: safe_position(); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.safe_position() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET random_page_cost TO '0'
    AS $$
declare
  v_last bigint;
  v_floor bigint;
  v_bound bigint;
  v_known constant bigint := coalesce(nullif(current_setting('cqrs.complete_to', true), '')::bigint, 0);
  v_safe bigint := coalesce(nullif(current_setting('cqrs.safe_position', true), '')::bigint, 0);
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('the log cannot be read in a %s transaction', current_setting('transaction_isolation')),
      detail = 'Its snapshot is older than the safe position, so the reader would skip events.',
      hint = 'Read the log in a READ COMMITTED transaction, or outside a transaction.';
  elsif pg_is_in_recovery() then
    raise exception using
      errcode = 'read_only_sql_transaction',
      message = 'the log cannot be read on a standby',
      detail = 'A standby does not know which transactions are in flight on the primary.',
      hint = 'Read the log on the primary.';
  elsif (
    select seqcache <> 1 or seqincrement <> 1 or seqcycle
    from pg_sequence where seqrelid = 'event_store.domain_event_global_position'::regclass
  ) then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'the sequence event_store.domain_event_global_position was altered; readers could lose events',
      hint = 'Run "alter sequence event_store.domain_event_global_position increment 1 cache 1 no cycle".';
  end if;

  select case when is_called then last_value else last_value - 1 end into v_last
  from event_store.domain_event_global_position;

  select min((classid::bigint & 65535) << 32 | objid::bigint) into v_floor
  from pg_locks
  where locktype = 'advisory'
    and objsubid = 1
    and classid::bigint >> 16 = 229
    and mode = 'ShareLock'
    and granted
    and database = (select oid from pg_database where datname = current_database());

  v_bound := least(v_last, v_floor);
  if v_bound > v_known then
    v_safe := coalesce(
      (
        select global_position
        from event_store.domain_event
        where global_position > v_known and global_position <= v_bound
        order by global_position desc
        limit 1
      ),
      v_safe
    );
    perform set_config('cqrs.complete_to', v_bound::text, false);
    perform set_config('cqrs.safe_position', v_safe::text, false);
  end if;
  return v_safe;
end
$$;


ALTER FUNCTION event_store.safe_position() OWNER TO cqrs_owner;

--
-- Name: FUNCTION safe_position(); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.safe_position() IS 'Position of the last event up to which the log is complete; pass it to read_all, never use it in a condition';

--
-- Name: save_snapshot(character varying, uuid, integer, integer, jsonb, bigint); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint DEFAULT 0) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
  v_stream_id constant uuid := event_store.stream_id_of(aggregate_type, aggregate_id);
  v_aggregate_version constant integer := aggregate_version;
  v_state_version constant integer := state_version;
  v_state constant jsonb := state;
  v_redactions constant bigint := coalesce(redactions, 0);
  v_actual integer;
  v_key text;
  v_made bigint;
  v_included bigint;
begin
  if v_stream_id is null
    or coalesce(v_state_version, 0) < 1
    or coalesce(v_aggregate_version, 0) < 1
    or v_state is null
  then
    raise exception using
      errcode = 'UE007',
      message = 'a snapshot needs an aggregate type, an aggregate id, versions of at least 1, and a state',
      hint = 'Nothing was saved. Fix the arguments; sql/README.md describes them.';
  end if;
  select version, aggregate_key into v_actual, v_key from event_store.event_stream where stream_id = v_stream_id;
  if v_actual is null or v_actual < v_aggregate_version then
    raise exception using
      errcode = 'UE003',
      message = format(
        'the stream of %s %s is at version %s, so it has no state at version %s',
        aggregate_type, coalesce(v_key, aggregate_id::text), coalesce(v_actual, 0), v_aggregate_version
      ),
      detail = event_store.append_detail(
        v_aggregate_version, coalesce(v_actual, 0), aggregate_type, aggregate_id, v_key
      ),
      hint = 'Nothing was saved. Save a snapshot after its events have been committed.';
  end if;

  if not event_store.hold_off_redaction(v_stream_id) then
    return false;
  end if;
  select count(*), count(*) filter (where aggregate_version <= v_aggregate_version)
  into v_made, v_included
  from event_store.redaction
  where stream_id = v_stream_id;
  if v_included > 0 and v_made <> v_redactions then
    return false;
  end if;

  insert into event_store.snapshot as stored (stream_id, state_version, aggregate_version, state, redactions)
  values (v_stream_id, v_state_version, v_aggregate_version, v_state, v_included)
  on conflict (stream_id, state_version) do update
  set
    aggregate_version = excluded.aggregate_version,
    state = excluded.state,
    taken_at = excluded.taken_at,
    redactions = excluded.redactions
  where stored.aggregate_version < excluded.aggregate_version;
  return found;
end
$$;


ALTER FUNCTION event_store.save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint) OWNER TO cqrs_owner;

--
-- Name: FUNCTION save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint) IS 'Saves the state of an aggregate at a version';

--
-- Name: skip_positions(bigint); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.skip_positions(drawn_elsewhere bigint DEFAULT NULL::bigint) RETURNS bigint
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT setval('event_store.domain_event_global_position'::regclass, (GREATEST(event_store.last_drawn_position(), drawn_elsewhere) + 1000000)) AS setval;
END;


ALTER FUNCTION event_store.skip_positions(drawn_elsewhere bigint) OWNER TO cqrs_owner;

--
-- Name: FUNCTION skip_positions(drawn_elsewhere bigint); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.skip_positions(drawn_elsewhere bigint) IS 'Leaves out positions that another continuation of the log may have drawn';

--
-- Name: stream_info(character varying, uuid); Type: FUNCTION; Schema: event_store; Owner: cqrs_owner
--

CREATE FUNCTION event_store.stream_info(aggregate_type character varying, aggregate_id uuid) RETURNS TABLE(stream_id uuid, version integer, created_at timestamp with time zone, updated_at timestamp with time zone, archived_at timestamp with time zone, aggregate_key text)
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT stream.stream_id,
     stream.version,
     stream.created_at,
     ( SELECT event.occurred_at
            FROM event_store.domain_event event
           WHERE ((event.stream_id = stream.stream_id) AND (event.aggregate_version = stream.version))) AS occurred_at,
     stream.archived_at,
     stream.aggregate_key
    FROM event_store.event_stream stream
   WHERE ((stream.stream_id = event_store.stream_id_of(stream_info.aggregate_type, stream_info.aggregate_id)) AND (stream.version > 0));
END;


ALTER FUNCTION event_store.stream_info(aggregate_type character varying, aggregate_id uuid) OWNER TO cqrs_owner;

--
-- Name: FUNCTION stream_info(aggregate_type character varying, aggregate_id uuid); Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON FUNCTION event_store.stream_info(aggregate_type character varying, aggregate_id uuid) IS 'Version, times and archive mark of the stream of an aggregate';

--
-- Name: forget_errors(); Type: FUNCTION; Schema: read_model; Owner: cqrs_owner
--

CREATE FUNCTION read_model.forget_errors() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  update read_model.dead_letter
  set error = null
  where stream_id = new.stream_id and aggregate_version >= new.aggregate_version and error is not null;
  return null;
end
$$;


ALTER FUNCTION read_model.forget_errors() OWNER TO cqrs_owner;

--
-- Name: FUNCTION forget_errors(); Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON FUNCTION read_model.forget_errors() IS 'Erases the errors of dead letters that a redaction concerns';

--
-- Name: withhold_error(); Type: FUNCTION; Schema: read_model; Owner: cqrs_owner
--

CREATE FUNCTION read_model.withhold_error() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if not event_store.hold_off_redaction(new.stream_id) then
    new.error := null;
  elsif exists (
    select from event_store.redaction
    where stream_id = new.stream_id and aggregate_version = new.aggregate_version
  ) then
    new.error := null;
  end if;
  return new;
end
$$;


ALTER FUNCTION read_model.withhold_error() OWNER TO cqrs_owner;

--
-- Name: FUNCTION withhold_error(); Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON FUNCTION read_model.withhold_error() IS 'Erases the error of a dead letter if its event was redacted';

--
-- Name: redaction; Type: TABLE; Schema: event_store; Owner: cqrs_owner
--

CREATE TABLE event_store.redaction (
    redacted_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
    stream_id uuid NOT NULL,
    aggregate_version integer NOT NULL,
    redacted_by name DEFAULT SESSION_USER NOT NULL,
    reason text NOT NULL,
    CONSTRAINT redaction_reason_is_not_empty CHECK ((btrim(reason) <> ''::text))
);


ALTER TABLE event_store.redaction OWNER TO cqrs_owner;

--
-- Name: TABLE redaction; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TABLE event_store.redaction IS 'Which event''s data was replaced, by whom, when and why';

--
-- Name: COLUMN redaction.redacted_at; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.redaction.redacted_at IS 'Start of the transaction that replaced the data';

--
-- Name: COLUMN redaction.transaction_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.redaction.transaction_id IS 'The transaction that replaced the data';

--
-- Name: COLUMN redaction.stream_id; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.redaction.stream_id IS 'The stream of the event';

--
-- Name: COLUMN redaction.aggregate_version; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.redaction.aggregate_version IS 'The version of the event';

--
-- Name: COLUMN redaction.redacted_by; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.redaction.redacted_by IS 'The login that replaced the data';

--
-- Name: COLUMN redaction.reason; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON COLUMN event_store.redaction.reason IS 'Why the data was replaced';

--
-- Name: schema_migration; Type: TABLE; Schema: public; Owner: cqrs_owner
--

CREATE TABLE public.schema_migration (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    applied_by name DEFAULT SESSION_USER NOT NULL,
    duration_ms integer NOT NULL,
    source text DEFAULT 'cqrs'::text NOT NULL,
    statements_done integer,
    is_in_doubt boolean DEFAULT false NOT NULL,
    CONSTRAINT schema_migration_checksum_is_sha256 CHECK ((checksum ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT schema_migration_source_is_known CHECK ((source = ANY (ARRAY['cqrs'::text, 'app'::text]))),
    CONSTRAINT schema_migration_statements_done_is_a_number CHECK ((statements_done >= 0))
);


ALTER TABLE public.schema_migration OWNER TO cqrs_owner;

--
-- Name: TABLE schema_migration; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON TABLE public.schema_migration IS 'The ledger: the SQL files that were applied';

--
-- Name: COLUMN schema_migration.name; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.name IS 'Path below the folder of the source, such as migrations/0001-schemas.sql';

--
-- Name: COLUMN schema_migration.checksum; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.checksum IS 'sha-256 of the file with LF line ends, in hexadecimal; of the statements that were run if it is incomplete';

--
-- Name: COLUMN schema_migration.applied_at; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.applied_at IS 'When it was applied';

--
-- Name: COLUMN schema_migration.applied_by; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.applied_by IS 'The login that applied it';

--
-- Name: COLUMN schema_migration.duration_ms; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.duration_ms IS 'How long it took, in milliseconds';

--
-- Name: COLUMN schema_migration.source; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.source IS 'cqrs: the product; app: the project that uses it';

--
-- Name: COLUMN schema_migration.statements_done; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.statements_done IS 'How many statements of a file without a transaction were run; null if the file is complete';

--
-- Name: COLUMN schema_migration.is_in_doubt; Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON COLUMN public.schema_migration.is_in_doubt IS 'Whether the next statement of an incomplete file was begun, so that it may have been run as well';

--
-- Name: dead_letter; Type: TABLE; Schema: read_model; Owner: cqrs_owner
--

CREATE TABLE read_model.dead_letter (
    name character varying(255) NOT NULL,
    version integer NOT NULL,
    stream_id uuid NOT NULL,
    aggregate_version integer NOT NULL,
    aggregate_type character varying(255) NOT NULL,
    aggregate_id uuid NOT NULL,
    event_type character varying(255) NOT NULL,
    attempts integer NOT NULL,
    error text,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    aggregate_key text
);
ALTER TABLE ONLY read_model.dead_letter ALTER COLUMN error SET STATISTICS 0;


ALTER TABLE read_model.dead_letter OWNER TO cqrs_owner;

--
-- Name: TABLE dead_letter; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON TABLE read_model.dead_letter IS 'Events that a projection failed on, and the later events of their streams, which wait to keep their order';

--
-- Name: COLUMN dead_letter.name; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.name IS 'Name of the projection';

--
-- Name: COLUMN dead_letter.version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.version IS 'Version of the projection''s code';

--
-- Name: COLUMN dead_letter.stream_id; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.stream_id IS 'The stream of the event';

--
-- Name: COLUMN dead_letter.aggregate_version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.aggregate_version IS 'The version of the event in its stream';

--
-- Name: COLUMN dead_letter.aggregate_type; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.aggregate_type IS 'Type of the aggregate';

--
-- Name: COLUMN dead_letter.aggregate_id; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.aggregate_id IS 'ID of the aggregate';

--
-- Name: COLUMN dead_letter.event_type; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.event_type IS 'Type of the event';

--
-- Name: COLUMN dead_letter.attempts; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.attempts IS 'Number of attempts; 0 if the event waits for an earlier one';

--
-- Name: COLUMN dead_letter.error; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.error IS 'Error of the last attempt; null if the event waits for an earlier one, or was redacted';

--
-- Name: COLUMN dead_letter.updated_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.updated_at IS 'When the event was last attempted; when it became a dead letter if it was not attempted';

--
-- Name: COLUMN dead_letter.aggregate_key; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.dead_letter.aggregate_key IS 'Text that names the aggregate; null if its ID does';

--
-- Name: inline_position; Type: TABLE; Schema: read_model; Owner: cqrs_owner
--

CREATE TABLE read_model.inline_position (
    name character varying(255) NOT NULL,
    version integer NOT NULL,
    backend_pid integer NOT NULL,
    "position" bigint NOT NULL
);


ALTER TABLE read_model.inline_position OWNER TO cqrs_owner;

--
-- Name: TABLE inline_position; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON TABLE read_model.inline_position IS 'How far the appends with inline projections have come, by backend';

--
-- Name: COLUMN inline_position.name; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.inline_position.name IS 'Name of the projection';

--
-- Name: COLUMN inline_position.version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.inline_position.version IS 'Version of the projection''s code';

--
-- Name: COLUMN inline_position.backend_pid; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.inline_position.backend_pid IS 'Process ID of the backend that appended';

--
-- Name: COLUMN inline_position."position"; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.inline_position."position" IS 'Global position of the last event that it has handled';

--
-- Name: projection; Type: TABLE; Schema: read_model; Owner: cqrs_owner
--

CREATE TABLE read_model.projection (
    name character varying(255) NOT NULL,
    version integer NOT NULL,
    partition integer DEFAULT 0 NOT NULL,
    checkpoint bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    CONSTRAINT projection_checkpoint_is_not_negative CHECK ((checkpoint >= 0)),
    CONSTRAINT projection_name_is_not_empty CHECK (((name)::text <> ''::text)),
    CONSTRAINT projection_partition_is_not_negative CHECK ((partition >= 0)),
    CONSTRAINT projection_version_is_positive CHECK ((version >= 1))
);


ALTER TABLE read_model.projection OWNER TO cqrs_owner;

--
-- Name: TABLE projection; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON TABLE read_model.projection IS 'Checkpoints of projections, written in the transaction of each batch';

--
-- Name: COLUMN projection.name; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection.name IS 'Name of the projection';

--
-- Name: COLUMN projection.version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection.version IS 'Version of the projection''s code';

--
-- Name: COLUMN projection.partition; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection.partition IS 'Partition of the streams, from 0';

--
-- Name: COLUMN projection.checkpoint; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection.checkpoint IS 'Global position up to which events are projected';

--
-- Name: COLUMN projection.updated_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection.updated_at IS 'When the checkpoint was written';

--
-- Name: COLUMN projection.token; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection.token IS 'Token of the lease under which the checkpoint may be written';

--
-- Name: projection_version; Type: TABLE; Schema: read_model; Owner: cqrs_owner
--

CREATE TABLE read_model.projection_version (
    name character varying(255) NOT NULL,
    version integer NOT NULL,
    partition_count integer NOT NULL,
    status text NOT NULL,
    relations text[] DEFAULT '{}'::text[] NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    owner text,
    heartbeat_at timestamp with time zone,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    served_at timestamp with time zone,
    events text[],
    CONSTRAINT projection_version_name_is_not_empty CHECK (((name)::text <> ''::text)),
    CONSTRAINT projection_version_partition_count_is_positive CHECK ((partition_count >= 1)),
    CONSTRAINT projection_version_status_is_known CHECK ((status = ANY (ARRAY['building'::text, 'serving'::text, 'retired'::text]))),
    CONSTRAINT projection_version_version_is_positive CHECK ((version >= 1))
);


ALTER TABLE read_model.projection_version OWNER TO cqrs_owner;

--
-- Name: TABLE projection_version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON TABLE read_model.projection_version IS 'Versions of projections: their status and their lease';

--
-- Name: COLUMN projection_version.name; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.name IS 'Name of the projection';

--
-- Name: COLUMN projection_version.version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.version IS 'Version of the projection''s code';

--
-- Name: COLUMN projection_version.partition_count; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.partition_count IS 'Number of partitions of the streams';

--
-- Name: COLUMN projection_version.status; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.status IS 'building: fills tables in read_model_next; serving: readers see it; retired: replaced by another version';

--
-- Name: COLUMN projection_version.relations; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.relations IS 'Tables and views it fills, each after those it depends on; dropped when the version is retired';

--
-- Name: COLUMN projection_version.token; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.token IS 'Fencing token, increased with each new owner; only the newest may write checkpoints';

--
-- Name: COLUMN projection_version.owner; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.owner IS 'Holder of the lease (host, process and run); null if there is none';

--
-- Name: COLUMN projection_version.heartbeat_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.heartbeat_at IS 'Last heartbeat of the owner';

--
-- Name: COLUMN projection_version.expires_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.expires_at IS 'When the lease expires and another process may take over';

--
-- Name: COLUMN projection_version.created_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.created_at IS 'When this version first ran';

--
-- Name: COLUMN projection_version.served_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.served_at IS 'When this version began to serve readers';

--
-- Name: COLUMN projection_version.events; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_version.events IS 'Types of events it handles; empty: all; null: registered before the column existed';

--
-- Name: projection_lag; Type: VIEW; Schema: read_model; Owner: cqrs_owner
--

CREATE VIEW read_model.projection_lag AS
 SELECT version.name,
    version.version,
    version.status,
    version.partition_count,
    progress.checkpoint,
        CASE
            WHEN (progress.checkpoint > drawn."position") THEN (drawn."position" - progress.checkpoint)
            WHEN (progress.inline_types IS NOT NULL) THEN ( SELECT count(*) AS count
               FROM (unnest(progress.inline_types) wanted(event_type)
                 JOIN event_store.domain_event event ON ((((event.event_type)::text = wanted.event_type) AND (event.global_position > progress.checkpoint)))))
            ELSE ( SELECT count(*) AS count
               FROM event_store.domain_event event
              WHERE (event.global_position > progress.checkpoint))
        END AS lag_events,
    (COALESCE(
        CASE
            WHEN (progress.inline_types IS NOT NULL) THEN ( SELECT GREATEST(EXTRACT(epoch FROM (clock_timestamp() - min(event.occurred_at))), (0)::numeric) AS "greatest"
               FROM (unnest(progress.inline_types) wanted(event_type)
                 JOIN event_store.domain_event event ON ((((event.event_type)::text = wanted.event_type) AND (event.global_position > progress.checkpoint)))))
            ELSE ( SELECT GREATEST(EXTRACT(epoch FROM (clock_timestamp() - event.occurred_at)), (0)::numeric) AS "greatest"
               FROM event_store.domain_event event
              WHERE (event.global_position > progress.checkpoint)
              ORDER BY event.global_position
             LIMIT 1)
        END, (0)::numeric))::double precision AS lag_seconds,
    version.owner,
    version.heartbeat_at,
    version.expires_at,
    ( SELECT count(*) AS count
           FROM read_model.dead_letter letter
          WHERE (((letter.name)::text = (version.name)::text) AND (letter.version = version.version))) AS dead_letters,
    holder.held_position,
    holder.pid AS holder_pid,
    holder.gid AS holder_gid,
    holder.login AS holder_login,
    holder.application_name AS holder_application_name,
    holder.state AS holder_state,
    holder.since AS holder_since,
    NULLIF(concat_ws('; '::text,
        CASE
            WHEN (progress.checkpoint > drawn."position") THEN format('UE008: the log was rewound: it ends before the checkpoint, at %s'::text, drawn."position")
            ELSE NULL::text
        END, mismatch.description), ''::text) AS log_problem
   FROM ((((read_model.projection_version version
     CROSS JOIN ( SELECT event_store.last_drawn_position() AS "position") drawn)
     CROSS JOIN LATERAL ( SELECT COALESCE(GREATEST(min(part.checkpoint), ( SELECT max(inline."position") AS max
                   FROM read_model.inline_position inline
                  WHERE (((inline.name)::text = (version.name)::text) AND (inline.version = version.version)))), (0)::bigint) AS checkpoint,
                CASE
                    WHEN (version.owner = 'inline'::text) THEN NULLIF(version.events, '{}'::text[])
                    ELSE NULL::text[]
                END AS inline_types
           FROM read_model.projection part
          WHERE (((part.name)::text = (version.name)::text) AND (part.version = version.version))) progress)
     CROSS JOIN ( SELECT string_agg(format('the %s is %s, the epoch began on %s'::text, epoch_mismatch.fact, epoch_mismatch.actual, epoch_mismatch.recorded), '; '::text) AS description
           FROM event_store.epoch_mismatch() epoch_mismatch(fact, recorded, actual)) mismatch)
     LEFT JOIN LATERAL ( SELECT furthest.held_position,
            furthest.pid,
            furthest.gid,
            furthest.login,
            furthest.application_name,
            furthest.state,
            furthest.since
           FROM ( SELECT horizon_holder.held_position,
                    horizon_holder.pid,
                    horizon_holder.gid,
                    horizon_holder.login,
                    horizon_holder.application_name,
                    horizon_holder.state,
                    horizon_holder.since
                   FROM event_store.horizon_holder() horizon_holder(held_position, pid, gid, login, application_name, state, since)
                  ORDER BY horizon_holder.held_position
                 LIMIT 1) furthest
          WHERE (furthest.held_position < ( SELECT max(event.global_position) AS max
                   FROM event_store.domain_event event))) holder ON (true))
  WHERE (version.status <> 'retired'::text);


ALTER VIEW read_model.projection_lag OWNER TO cqrs_owner;

--
-- Name: VIEW projection_lag; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON VIEW read_model.projection_lag IS 'How far each projection is behind the log, who holds its lease, and who holds back the end of the log';

--
-- Name: COLUMN projection_lag.name; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.name IS 'Name of the projection';

--
-- Name: COLUMN projection_lag.version; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.version IS 'Version of the projection''s code';

--
-- Name: COLUMN projection_lag.status; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.status IS 'building or serving';

--
-- Name: COLUMN projection_lag.partition_count; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.partition_count IS 'Number of partitions of the streams';

--
-- Name: COLUMN projection_lag.checkpoint; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.checkpoint IS 'Position up to which all partitions are projected';

--
-- Name: COLUMN projection_lag.lag_events; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.lag_events IS 'Number of events stored after the checkpoint';

--
-- Name: COLUMN projection_lag.lag_seconds; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.lag_seconds IS 'Age of the first event after the checkpoint, in seconds';

--
-- Name: COLUMN projection_lag.owner; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.owner IS 'Holder of the lease; inline if the transactions that append handle its events';

--
-- Name: COLUMN projection_lag.heartbeat_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.heartbeat_at IS 'Last heartbeat of the owner';

--
-- Name: COLUMN projection_lag.expires_at; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.expires_at IS 'When the lease expires and another process may take over';

--
-- Name: COLUMN projection_lag.dead_letters; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.dead_letters IS 'Number of dead letters';

--
-- Name: COLUMN projection_lag.held_position; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.held_position IS 'Position beyond which the holder prevents reading';

--
-- Name: COLUMN projection_lag.holder_pid; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.holder_pid IS 'Process ID of the holder''s session';

--
-- Name: COLUMN projection_lag.holder_gid; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.holder_gid IS 'Global identifier of the holder''s prepared transaction';

--
-- Name: COLUMN projection_lag.holder_login; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.holder_login IS 'Login of the holder';

--
-- Name: COLUMN projection_lag.holder_application_name; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.holder_application_name IS 'Application of the holder';

--
-- Name: COLUMN projection_lag.holder_state; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.holder_state IS 'State of the holder''s session, or prepared';

--
-- Name: COLUMN projection_lag.holder_since; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.holder_since IS 'When the holder''s transaction began';

--
-- Name: COLUMN projection_lag.log_problem; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON COLUMN read_model.projection_lag.log_problem IS 'Why the log may have been rewound behind the projection and other readers; null if it has not';

--
-- Name: domain_event global_position; Type: DEFAULT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.domain_event ALTER COLUMN global_position SET DEFAULT nextval('event_store.domain_event_global_position'::regclass);

--
-- Name: schema_migration schema_migration_pkey; Type: CONSTRAINT; Schema: public; Owner: cqrs_owner
--

ALTER TABLE ONLY public.schema_migration
    ADD CONSTRAINT schema_migration_pkey PRIMARY KEY (source, name);

--
-- Name: record_project_file(text, text, text, integer, integer, boolean); Type: FUNCTION; Schema: public; Owner: cqrs_owner
--

CREATE FUNCTION public.record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer DEFAULT NULL::integer, is_in_doubt boolean DEFAULT false) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 INSERT INTO public.schema_migration AS entry (source, name, checksum, applied_by, duration_ms, statements_done, is_in_doubt)
   VALUES ('app'::text, record_project_file.name, record_project_file.checksum, record_project_file.applied_by, record_project_file.duration_ms, record_project_file.statements_done, record_project_file.is_in_doubt) ON CONFLICT ON CONSTRAINT schema_migration_pkey DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp(), applied_by = excluded.applied_by, duration_ms = excluded.duration_ms, statements_done = excluded.statements_done, is_in_doubt = excluded.is_in_doubt;
END;


ALTER FUNCTION public.record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer, is_in_doubt boolean) OWNER TO cqrs_owner;

--
-- Name: FUNCTION record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer, is_in_doubt boolean); Type: COMMENT; Schema: public; Owner: cqrs_owner
--

COMMENT ON FUNCTION public.record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer, is_in_doubt boolean) IS 'Notes in the ledger that a file of the project was applied';

--
-- Name: domain_event domain_event_event_id_key; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.domain_event
    ADD CONSTRAINT domain_event_event_id_key UNIQUE (event_id);

--
-- Name: domain_event domain_event_pkey; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.domain_event
    ADD CONSTRAINT domain_event_pkey PRIMARY KEY (stream_id, aggregate_version);

--
-- Name: event_stream event_stream_pkey; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.event_stream
    ADD CONSTRAINT event_stream_pkey PRIMARY KEY (stream_id);

--
-- Name: log_epoch log_epoch_epoch_id_key; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.log_epoch
    ADD CONSTRAINT log_epoch_epoch_id_key UNIQUE (epoch_id);

--
-- Name: log_epoch log_epoch_pkey; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.log_epoch
    ADD CONSTRAINT log_epoch_pkey PRIMARY KEY (epoch_number);

--
-- Name: redaction redaction_pkey; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.redaction
    ADD CONSTRAINT redaction_pkey PRIMARY KEY (stream_id, aggregate_version, transaction_id);

--
-- Name: snapshot snapshot_pkey; Type: CONSTRAINT; Schema: event_store; Owner: cqrs_owner
--

ALTER TABLE ONLY event_store.snapshot
    ADD CONSTRAINT snapshot_pkey PRIMARY KEY (stream_id, state_version);

--
-- Name: dead_letter dead_letter_pkey; Type: CONSTRAINT; Schema: read_model; Owner: cqrs_owner
--

ALTER TABLE ONLY read_model.dead_letter
    ADD CONSTRAINT dead_letter_pkey PRIMARY KEY (name, version, stream_id, aggregate_version);

--
-- Name: inline_position inline_position_pkey; Type: CONSTRAINT; Schema: read_model; Owner: cqrs_owner
--

ALTER TABLE ONLY read_model.inline_position
    ADD CONSTRAINT inline_position_pkey PRIMARY KEY (name, version, backend_pid);

--
-- Name: projection projection_pkey; Type: CONSTRAINT; Schema: read_model; Owner: cqrs_owner
--

ALTER TABLE ONLY read_model.projection
    ADD CONSTRAINT projection_pkey PRIMARY KEY (name, version, partition);

--
-- Name: projection_version projection_version_pkey; Type: CONSTRAINT; Schema: read_model; Owner: cqrs_owner
--

ALTER TABLE ONLY read_model.projection_version
    ADD CONSTRAINT projection_version_pkey PRIMARY KEY (name, version);

--
-- Name: domain_event_correlation_id_idx; Type: INDEX; Schema: event_store; Owner: cqrs_owner
--

CREATE INDEX domain_event_correlation_id_idx ON event_store.domain_event USING btree (correlation_id) WHERE (correlation_id IS NOT NULL);

--
-- Name: domain_event_event_type_global_position_idx; Type: INDEX; Schema: event_store; Owner: cqrs_owner
--

CREATE INDEX domain_event_event_type_global_position_idx ON event_store.domain_event USING btree (event_type, global_position);

--
-- Name: domain_event_global_position_idx; Type: INDEX; Schema: event_store; Owner: cqrs_owner
--

CREATE INDEX domain_event_global_position_idx ON event_store.domain_event USING btree (global_position);

--
-- Name: domain_event_occurred_at_idx; Type: INDEX; Schema: event_store; Owner: cqrs_owner
--

CREATE INDEX domain_event_occurred_at_idx ON event_store.domain_event USING brin (occurred_at);

--
-- Name: event_stream_aggregate_type_idx; Type: INDEX; Schema: event_store; Owner: cqrs_owner
--

CREATE INDEX event_stream_aggregate_type_idx ON event_store.event_stream USING btree (aggregate_type);

--
-- Name: projection_version_serving_idx; Type: INDEX; Schema: read_model; Owner: cqrs_owner
--

CREATE UNIQUE INDEX projection_version_serving_idx ON read_model.projection_version USING btree (name) WHERE (status = 'serving'::text);

--
-- Name: domain_event domain_event_is_immutable; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER domain_event_is_immutable BEFORE DELETE OR TRUNCATE ON event_store.domain_event FOR EACH STATEMENT EXECUTE FUNCTION event_store.refuse_change();

ALTER TABLE event_store.domain_event ENABLE ALWAYS TRIGGER domain_event_is_immutable;

--
-- Name: TRIGGER domain_event_is_immutable ON domain_event; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER domain_event_is_immutable ON event_store.domain_event IS 'Refuses delete and truncate';

--
-- Name: domain_event domain_event_is_redacted_openly; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER domain_event_is_redacted_openly BEFORE UPDATE ON event_store.domain_event FOR EACH STATEMENT EXECUTE FUNCTION event_store.check_redaction();

ALTER TABLE event_store.domain_event ENABLE ALWAYS TRIGGER domain_event_is_redacted_openly;

--
-- Name: TRIGGER domain_event_is_redacted_openly ON domain_event; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER domain_event_is_redacted_openly ON event_store.domain_event IS 'Refuses update in a transaction that has not recorded a redaction';

--
-- Name: domain_event domain_event_keeps_its_place; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER domain_event_keeps_its_place BEFORE UPDATE ON event_store.domain_event FOR EACH ROW EXECUTE FUNCTION event_store.check_redaction();

ALTER TABLE event_store.domain_event ENABLE ALWAYS TRIGGER domain_event_keeps_its_place;

--
-- Name: TRIGGER domain_event_keeps_its_place ON domain_event; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER domain_event_keeps_its_place ON event_store.domain_event IS 'Refuses to update anything but the data and metadata of the event that is redacted';

--
-- Name: domain_event domain_event_publishes_floor; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER domain_event_publishes_floor BEFORE INSERT ON event_store.domain_event FOR EACH STATEMENT EXECUTE FUNCTION event_store.publish_floor();

ALTER TABLE event_store.domain_event ENABLE ALWAYS TRIGGER domain_event_publishes_floor;

--
-- Name: TRIGGER domain_event_publishes_floor ON domain_event; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER domain_event_publishes_floor ON event_store.domain_event IS 'Publishes the position below which this transaction will draw none';

--
-- Name: log_epoch log_epoch_is_immutable; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER log_epoch_is_immutable BEFORE DELETE OR UPDATE OR TRUNCATE ON event_store.log_epoch FOR EACH STATEMENT EXECUTE FUNCTION event_store.refuse_change();

ALTER TABLE event_store.log_epoch ENABLE ALWAYS TRIGGER log_epoch_is_immutable;

--
-- Name: TRIGGER log_epoch_is_immutable ON log_epoch; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER log_epoch_is_immutable ON event_store.log_epoch IS 'Refuses update, delete and truncate';

--
-- Name: redaction redaction_erases_errors; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER redaction_erases_errors AFTER INSERT ON event_store.redaction FOR EACH ROW EXECUTE FUNCTION read_model.forget_errors();

ALTER TABLE event_store.redaction ENABLE ALWAYS TRIGGER redaction_erases_errors;

--
-- Name: TRIGGER redaction_erases_errors ON redaction; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER redaction_erases_errors ON event_store.redaction IS 'Erases the errors of dead letters, which may quote the erased data';

--
-- Name: redaction redaction_excludes_readers; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER redaction_excludes_readers BEFORE INSERT ON event_store.redaction FOR EACH ROW EXECUTE FUNCTION event_store.begin_redaction();

ALTER TABLE event_store.redaction ENABLE ALWAYS TRIGGER redaction_excludes_readers;

--
-- Name: TRIGGER redaction_excludes_readers ON redaction; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER redaction_excludes_readers ON event_store.redaction IS 'Waits for transactions that store what they have read from the stream';

--
-- Name: redaction redaction_is_immutable; Type: TRIGGER; Schema: event_store; Owner: cqrs_owner
--

CREATE TRIGGER redaction_is_immutable BEFORE DELETE OR UPDATE OR TRUNCATE ON event_store.redaction FOR EACH STATEMENT EXECUTE FUNCTION event_store.refuse_change();

ALTER TABLE event_store.redaction ENABLE ALWAYS TRIGGER redaction_is_immutable;

--
-- Name: TRIGGER redaction_is_immutable ON redaction; Type: COMMENT; Schema: event_store; Owner: cqrs_owner
--

COMMENT ON TRIGGER redaction_is_immutable ON event_store.redaction IS 'Refuses update, delete and truncate';

--
-- Name: dead_letter dead_letter_quotes_no_erased_data; Type: TRIGGER; Schema: read_model; Owner: cqrs_owner
--

CREATE TRIGGER dead_letter_quotes_no_erased_data BEFORE INSERT OR UPDATE ON read_model.dead_letter FOR EACH ROW WHEN ((new.error IS NOT NULL)) EXECUTE FUNCTION read_model.withhold_error();

ALTER TABLE read_model.dead_letter ENABLE ALWAYS TRIGGER dead_letter_quotes_no_erased_data;

--
-- Name: TRIGGER dead_letter_quotes_no_erased_data ON dead_letter; Type: COMMENT; Schema: read_model; Owner: cqrs_owner
--

COMMENT ON TRIGGER dead_letter_quotes_no_erased_data ON read_model.dead_letter IS 'Erases the error if the event was redacted';

--
-- Name: SCHEMA command_model; Type: ACL; Schema: -; Owner: cqrs_owner
--

GRANT ALL ON SCHEMA command_model TO cqrs_app;
GRANT ALL ON SCHEMA command_model TO cqrs_app_owner;

--
-- Name: SCHEMA event_store; Type: ACL; Schema: -; Owner: cqrs_owner
--

GRANT USAGE ON SCHEMA event_store TO cqrs_app;
GRANT USAGE ON SCHEMA event_store TO cqrs_app_owner;

--
-- Name: SCHEMA read_model; Type: ACL; Schema: -; Owner: cqrs_owner
--

GRANT ALL ON SCHEMA read_model TO cqrs_app;
GRANT ALL ON SCHEMA read_model TO cqrs_app_owner;

--
-- Name: SCHEMA read_model_next; Type: ACL; Schema: -; Owner: cqrs_owner
--

GRANT ALL ON SCHEMA read_model_next TO cqrs_app;
GRANT ALL ON SCHEMA read_model_next TO cqrs_app_owner;

--
-- Name: FUNCTION advance_named_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.advance_named_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text) FROM PUBLIC;

--
-- Name: FUNCTION advance_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.advance_stream(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer) FROM PUBLIC;

--
-- Name: FUNCTION aggregate_id_of(aggregate_key text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.aggregate_id_of(aggregate_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.aggregate_id_of(aggregate_key text) TO cqrs_app;

--
-- Name: FUNCTION append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.append(INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean) TO cqrs_app;

--
-- Name: FUNCTION append_batch(appends jsonb); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append_batch(appends jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.append_batch(appends jsonb) TO cqrs_app;

--
-- Name: FUNCTION append_detail(expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append_detail(expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text) FROM PUBLIC;

--
-- Name: FUNCTION append_element(append jsonb); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append_element(append jsonb) FROM PUBLIC;

--
-- Name: FUNCTION append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.append_events(p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]) TO cqrs_app;

--
-- Name: FUNCTION append_problem(aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append_problem(aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text) FROM PUBLIC;

--
-- Name: FUNCTION append_refusal(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.append_refusal(p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint) FROM PUBLIC;

--
-- Name: FUNCTION archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.archive_stream(aggregate_type character varying, aggregate_id uuid, expected_version integer) TO cqrs_app;

--
-- Name: FUNCTION begin_epoch(reason text, began_after bigint, skip_positions boolean); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.begin_epoch(reason text, began_after bigint, skip_positions boolean) FROM PUBLIC;

--
-- Name: FUNCTION begin_redaction(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.begin_redaction() FROM PUBLIC;

--
-- Name: FUNCTION check_checkpoint(checkpoint bigint, event_id uuid, epoch_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.check_checkpoint(checkpoint bigint, event_id uuid, epoch_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.check_checkpoint(checkpoint bigint, event_id uuid, epoch_id uuid) TO cqrs_app;

--
-- Name: FUNCTION check_redaction(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.check_redaction() FROM PUBLIC;

--
-- Name: FUNCTION element_aggregate_id(append jsonb); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.element_aggregate_id(append jsonb) FROM PUBLIC;

--
-- Name: FUNCTION server_identity(OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.server_identity(OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text) FROM PUBLIC;

--
-- Name: TABLE log_epoch; Type: ACL; Schema: event_store; Owner: cqrs_owner
--

GRANT SELECT ON TABLE event_store.log_epoch TO cqrs_app;
GRANT SELECT,REFERENCES ON TABLE event_store.log_epoch TO cqrs_app_owner;

--
-- Name: FUNCTION epoch_mismatch(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.epoch_mismatch() FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.epoch_mismatch() TO cqrs_app;

--
-- Name: FUNCTION event_id_problem(event jsonb, key text, metadata_key text, place integer); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.event_id_problem(event jsonb, key text, metadata_key text, place integer) FROM PUBLIC;

--
-- Name: FUNCTION find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.find_positions(of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer) TO cqrs_app;

--
-- Name: FUNCTION hold_off_redaction(p_stream_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.hold_off_redaction(p_stream_id uuid) FROM PUBLIC;

--
-- Name: FUNCTION horizon_holder(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.horizon_holder() FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.horizon_holder() TO cqrs_app;

--
-- Name: FUNCTION is_event(event jsonb); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.is_event(event jsonb) FROM PUBLIC;

--
-- Name: FUNCTION is_text_id(event jsonb, key text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.is_text_id(event jsonb, key text) FROM PUBLIC;

--
-- Name: FUNCTION keep_text_ids(events jsonb); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.keep_text_ids(events jsonb) FROM PUBLIC;

--
-- Name: TABLE domain_event; Type: ACL; Schema: event_store; Owner: cqrs_owner
--

GRANT SELECT ON TABLE event_store.domain_event TO cqrs_app;
GRANT SELECT,REFERENCES ON TABLE event_store.domain_event TO cqrs_app_owner;

--
-- Name: FUNCTION last_drawn_position(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.last_drawn_position() FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.last_drawn_position() TO cqrs_app;

--
-- Name: FUNCTION stream_id_of(aggregate_type character varying, aggregate_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.stream_id_of(aggregate_type character varying, aggregate_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.stream_id_of(aggregate_type character varying, aggregate_id uuid) TO cqrs_app;

--
-- Name: TABLE snapshot; Type: ACL; Schema: event_store; Owner: cqrs_owner
--

GRANT SELECT ON TABLE event_store.snapshot TO cqrs_app;
GRANT SELECT,REFERENCES ON TABLE event_store.snapshot TO cqrs_app_owner;

--
-- Name: FUNCTION load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.load_snapshot(aggregate_type character varying, aggregate_id uuid, state_version integer) TO cqrs_app;

--
-- Name: FUNCTION publish_floor(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.publish_floor() FROM PUBLIC;

--
-- Name: FUNCTION read_all(after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.read_all(after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.read_all(after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid) TO cqrs_app;

--
-- Name: TABLE event_stream; Type: ACL; Schema: event_store; Owner: cqrs_owner
--

GRANT SELECT ON TABLE event_store.event_stream TO cqrs_app;
GRANT SELECT,REFERENCES ON TABLE event_store.event_stream TO cqrs_app_owner;

--
-- Name: FUNCTION read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.read_stream(aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]) TO cqrs_app;

--
-- Name: FUNCTION redact_event(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb, metadata jsonb); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.redact_event(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb, metadata jsonb) FROM PUBLIC;

--
-- Name: FUNCTION redaction_lock_key(p_stream_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.redaction_lock_key(p_stream_id uuid) FROM PUBLIC;

--
-- Name: FUNCTION refuse_change(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.refuse_change() FROM PUBLIC;

--
-- Name: FUNCTION refuse_checkpoint(p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.refuse_checkpoint(p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text) FROM PUBLIC;

--
-- Name: FUNCTION reopen_stream(aggregate_type character varying, aggregate_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.reopen_stream(aggregate_type character varying, aggregate_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.reopen_stream(aggregate_type character varying, aggregate_id uuid) TO cqrs_app;

--
-- Name: FUNCTION resume_log(checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.resume_log(checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.resume_log(checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid) TO cqrs_app;

--
-- Name: FUNCTION safe_position(); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.safe_position() FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.safe_position() TO cqrs_app;

--
-- Name: FUNCTION save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.save_snapshot(aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint) TO cqrs_app;

--
-- Name: FUNCTION skip_positions(drawn_elsewhere bigint); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.skip_positions(drawn_elsewhere bigint) FROM PUBLIC;

--
-- Name: FUNCTION stream_info(aggregate_type character varying, aggregate_id uuid); Type: ACL; Schema: event_store; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION event_store.stream_info(aggregate_type character varying, aggregate_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION event_store.stream_info(aggregate_type character varying, aggregate_id uuid) TO cqrs_app;

--
-- Name: FUNCTION forget_errors(); Type: ACL; Schema: read_model; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION read_model.forget_errors() FROM PUBLIC;
GRANT ALL ON FUNCTION read_model.forget_errors() TO cqrs_app;

--
-- Name: FUNCTION withhold_error(); Type: ACL; Schema: read_model; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION read_model.withhold_error() FROM PUBLIC;
GRANT ALL ON FUNCTION read_model.withhold_error() TO cqrs_app;

--
-- Name: TABLE redaction; Type: ACL; Schema: event_store; Owner: cqrs_owner
--

GRANT SELECT ON TABLE event_store.redaction TO cqrs_app;
GRANT SELECT,REFERENCES ON TABLE event_store.redaction TO cqrs_app_owner;

--
-- Name: TABLE schema_migration; Type: ACL; Schema: public; Owner: cqrs_owner
--

GRANT SELECT ON TABLE public.schema_migration TO cqrs_app;

--
-- Name: TABLE dead_letter; Type: ACL; Schema: read_model; Owner: cqrs_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE read_model.dead_letter TO cqrs_app;

--
-- Name: TABLE inline_position; Type: ACL; Schema: read_model; Owner: cqrs_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE read_model.inline_position TO cqrs_app;

--
-- Name: TABLE projection; Type: ACL; Schema: read_model; Owner: cqrs_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE read_model.projection TO cqrs_app;

--
-- Name: TABLE projection_version; Type: ACL; Schema: read_model; Owner: cqrs_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE read_model.projection_version TO cqrs_app;

--
-- Name: TABLE projection_lag; Type: ACL; Schema: read_model; Owner: cqrs_owner
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE read_model.projection_lag TO cqrs_app;

--
-- Name: FUNCTION record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer, is_in_doubt boolean); Type: ACL; Schema: public; Owner: cqrs_owner
--

REVOKE ALL ON FUNCTION public.record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer, is_in_doubt boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.record_project_file(name text, checksum text, applied_by text, duration_ms integer, statements_done integer, is_in_doubt boolean) TO cqrs_app_owner;

--
-- Name: DEFAULT PRIVILEGES FOR SEQUENCES; Type: DEFAULT ACL; Schema: command_model; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner IN SCHEMA command_model GRANT SELECT,USAGE ON SEQUENCES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR SEQUENCES; Type: DEFAULT ACL; Schema: command_model; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA command_model GRANT SELECT,USAGE ON SEQUENCES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: command_model; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner IN SCHEMA command_model GRANT ALL ON FUNCTIONS TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: command_model; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA command_model GRANT ALL ON FUNCTIONS TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: command_model; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner IN SCHEMA command_model GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: command_model; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA command_model GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: event_store; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA event_store GRANT SELECT,REFERENCES ON TABLES TO cqrs_app_owner;

--
-- Name: DEFAULT PRIVILEGES FOR SEQUENCES; Type: DEFAULT ACL; Schema: read_model; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner IN SCHEMA read_model GRANT SELECT,USAGE ON SEQUENCES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR SEQUENCES; Type: DEFAULT ACL; Schema: read_model; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA read_model GRANT SELECT,USAGE ON SEQUENCES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: read_model; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner IN SCHEMA read_model GRANT ALL ON FUNCTIONS TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: read_model; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA read_model GRANT ALL ON FUNCTIONS TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: read_model; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner IN SCHEMA read_model GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: read_model; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner IN SCHEMA read_model GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO cqrs_app;

--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: -; Owner: cqrs_app_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_app_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;

--
-- Name: DEFAULT PRIVILEGES FOR FUNCTIONS; Type: DEFAULT ACL; Schema: -; Owner: cqrs_owner
--

ALTER DEFAULT PRIVILEGES FOR ROLE cqrs_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;

--
-- PostgreSQL database dump complete
--
