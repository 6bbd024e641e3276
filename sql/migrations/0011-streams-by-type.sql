-- Serves readers of a few aggregate types, which need their streams (event_store.find_positions).
create index event_stream_aggregate_type_idx on event_store.event_stream (aggregate_type);
