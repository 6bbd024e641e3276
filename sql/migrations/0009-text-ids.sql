-- Adds the keys of aggregates that are named by text and not by a UUID (event_store.aggregate_id_of).
alter table event_store.event_stream add column aggregate_key text;

comment on column event_store.event_stream.aggregate_key is
  'Text from which aggregate_id is derived; null if the aggregate is named by a UUID';

alter table read_model.dead_letter add column aggregate_key text;

comment on column read_model.dead_letter.aggregate_key is 'Text that names the aggregate; null if its ID does';
