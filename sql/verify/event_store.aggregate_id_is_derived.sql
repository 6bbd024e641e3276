-- The id of an aggregate that is named by text is derived from the text. Otherwise clients address another stream.
select stream_id, aggregate_type, aggregate_id, aggregate_key
from event_store.event_stream
where aggregate_id <> event_store.aggregate_id_of(aggregate_key)
