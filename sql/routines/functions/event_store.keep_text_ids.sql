-- Moves causation and correlation ids that are no UUIDs into the metadata of their events, as $causationId and
-- $correlationId. Ids that the metadata cannot keep stay where they are: event_store.append_problem refuses them.
--
-- Stable, because event_store.event_id_problem is. Granted to nobody.
-- Callers: event_store.append.
create or replace function event_store.keep_text_ids(events jsonb)
returns jsonb
language sql
stable
parallel safe
begin atomic
  select jsonb_agg(
    case
      when kept.ids is null then event
      else event - kept.keys
        || jsonb_build_object('metadata', coalesce(nullif(event -> 'metadata', 'null'), '{}') || kept.ids)
    end
    order by place
  )
  from jsonb_array_elements(events) with ordinality as given (event, place)
  cross join lateral (
    select jsonb_object_agg(metadata_key, event -> key), array_agg(key)
    from (
      values ('causation_id', '$causationId'), ('correlation_id', '$correlationId')
    ) as known (key, metadata_key)
    where jsonb_typeof(event) = 'object' and event_store.is_text_id(event, key)
      and event_store.event_id_problem(event, key, metadata_key, 0) is null
  ) as kept (ids, keys);
end;

comment on function event_store.keep_text_ids is
  'Moves causation and correlation ids that are no UUIDs into the metadata';
