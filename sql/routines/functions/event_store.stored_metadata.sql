-- Returns the metadata to store for an event. A causation_id or correlation_id that is no UUID is kept in it, as
-- $causationId or $correlationId.
--
-- Stable, though it reads nothing, and a single expression: see event_store.is_event. Granted to nobody.
-- Callers: event_store.append and event_store.append_batch.
create or replace function event_store.stored_metadata(event jsonb)
returns jsonb
language sql
stable
parallel safe
begin atomic
  select case
    when coalesce(event_store.has_uuid_form(event ->> 'causation_id'), true)
      and coalesce(event_store.has_uuid_form(event ->> 'correlation_id'), true)
      then nullif(event -> 'metadata', 'null')
    else coalesce(nullif(event -> 'metadata', 'null'), '{}')
      || case
        when not event_store.has_uuid_form(event ->> 'causation_id')
          then jsonb_build_object('$causationId', event -> 'causation_id')
        else '{}'
      end
      || case
        when not event_store.has_uuid_form(event ->> 'correlation_id')
          then jsonb_build_object('$correlationId', event -> 'correlation_id')
        else '{}'
      end
  end;
end;

comment on function event_store.stored_metadata is 'Returns the metadata to store for an event';
