-- Returns the id of the aggregate of an element of event_store.append_batch: its aggregate_id, or the one derived from
-- its aggregate_key; null if that is not valid.
--
-- Stable, because pg_input_is_valid is. In plpgsql, so that it costs little where it is not called. Granted to nobody.
-- Callers: event_store.append_batch and event_store.append_element.
create or replace function event_store.element_aggregate_id(append jsonb)
returns uuid
language plpgsql
stable
parallel safe
as $$
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

comment on function event_store.element_aggregate_id is 'Returns the id of the aggregate of an element of a batch';
