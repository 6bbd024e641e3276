-- Replaces the data and metadata of one event that has to be erased or rectified (GDPR, articles 16 and 17).
--
-- Position, version, type, ids and time stay. event_store.redaction records who, when and why; the old data is recorded
-- nowhere.
-- event_data: the replacement; {} erases the data. metadata: the replacement; null erases it.
-- Deletes snapshots that include the event; triggers of event_store.redaction keep such a snapshot from being saved
-- later and erase the errors of dead letters. Read models belong to the application: rebuild those that hold the data.
-- The old rows disappear with the next vacuum; copies in the WAL and in backups disappear when these expire.
-- Locks: waits for transactions that save a snapshot of the stream (event_store.begin_redaction).
-- Errors: UE003 the event does not exist; UE007 reason or data is missing; 25001 not in READ COMMITTED.
-- Volatile. Security definer. Granted to nobody: grant it to the role that is responsible for erasure.
create or replace function event_store.redact_event(
  aggregate_type varchar,
  aggregate_id uuid,
  aggregate_version integer,
  reason text,
  event_data jsonb default '{}',
  metadata jsonb default null
)
returns void
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
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

comment on function event_store.redact_event is
  'Replaces the data of one event that has to be erased, and records the redaction';
