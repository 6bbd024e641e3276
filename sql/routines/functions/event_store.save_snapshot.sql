-- Saves the state of an aggregate at a version; replaces an older snapshot with the same state_version.
--
-- redactions: how many redactions the stream had before its events, or its last snapshot, were read. A redaction since
-- then may have erased data that the state still contains.
-- Returns whether it was saved: false if a snapshot of this or a later version already exists, if the stream has other
-- redactions than these and one is of an event up to the version, or if that cannot be told
-- (event_store.hold_off_redaction).
-- Locks: the snapshot's row, and a shared advisory lock that redactions of the stream wait for, until the transaction
-- ends; not the stream's row, so it delays no append.
-- Errors: UE003 the stream does not exist or has not reached that version; UE007 invalid arguments.
-- Volatile. Security definer, because the application may not write to the table.
-- Callers: applications.

-- The function without redactions. Dropped here, not in a migration, so that callers find the function at all times.
do $$
begin
  if to_regprocedure('event_store.save_snapshot(varchar, uuid, integer, integer, jsonb)') is not null then
    drop function event_store.save_snapshot(varchar, uuid, integer, integer, jsonb);
  end if;
end
$$;

create or replace function event_store.save_snapshot(
  aggregate_type varchar,
  aggregate_id uuid,
  aggregate_version integer,
  state_version integer,
  state jsonb,
  redactions bigint default 0
)
returns boolean
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
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

comment on function event_store.save_snapshot is 'Saves the state of an aggregate at a version';

grant execute on function event_store.save_snapshot to :{app};
