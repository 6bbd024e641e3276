-- Replaces the data and metadata of one event, which has to be erased or redacted (GDPR, articles 16 and 17). Its position, version, type,
-- ids and time stay; who, when and why are recorded in event_store.redaction. What the data was is recorded nowhere.
--
-- event_data: what is to stand there; an empty object erases it. metadata: likewise, null for none. Snapshots that were
-- folded from the event are removed. Read models are the application's: rebuild those that hold its data.
-- The old row goes with the next vacuum, what WAL and backups hold of it when these expire.
-- Raises UE003 when there is no such event, UE007 when reason or data are missing.
-- Volatile; security definer. Granted to nobody: grant it to the role that answers for erasure.
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
begin
  if coalesce(btrim(reason), '') = '' or coalesce(redact_event.event_data, 'null') = 'null' then
    raise exception using
      errcode = 'UE007',
      message = 'a redaction needs a reason, and data to stand in place of the event''s own',
      hint = 'Nothing was changed. An empty object, {}, erases the data.';
  end if;

  insert into event_store.redaction (stream_id, aggregate_version, reason)
  values (v_stream_id, v_version, reason)
  on conflict do nothing;

  update event_store.domain_event
  set event_data = redact_event.event_data, metadata = nullif(redact_event.metadata, 'null')
  where stream_id = v_stream_id and aggregate_version = v_version;
  if not found then
    raise exception using
      errcode = 'UE003',
      message = format('there is no event %s of %s %s', v_version, aggregate_type, aggregate_id),
      detail = event_store.append_detail(v_version, null, aggregate_type, aggregate_id),
      hint = 'Nothing was changed.';
  end if;

  delete from event_store.snapshot where stream_id = v_stream_id and aggregate_version >= v_version;
end
$$;

comment on function event_store.redact_event is 'Replaces the data of one event that has to be erased, and records it';
