-- Returns the id of the aggregate of an element of event_store.append_batch: its aggregate_id, or the one derived from
-- its aggregate_key; null if neither is valid.
--
-- Stable, though it reads nothing: see event_store.is_event. A single expression, so that it is inlined. Granted to
-- nobody.
-- Callers: event_store.append_batch and event_store.append_element.
create or replace function event_store.batch_aggregate_id(append jsonb)
returns uuid
language sql
stable
parallel safe
begin atomic
  select case
    when append ->> 'aggregate_id' is null then
      case
        when octet_length(append ->> 'aggregate_key') between 1 and 1024
          then event_store.aggregate_id_of(append ->> 'aggregate_key')
      end
    when pg_input_is_valid(append ->> 'aggregate_id', 'uuid') then (append ->> 'aggregate_id')::uuid
  end;
end;

comment on function event_store.batch_aggregate_id is 'Returns the id of the aggregate of an element of a batch';
