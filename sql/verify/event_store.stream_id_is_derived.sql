-- A stream's id follows from its aggregate, so that whoever knows the one finds the other.
select stream_id, aggregate_type, aggregate_id
from event_store.event_stream
where stream_id <> event_store.stream_id_of(aggregate_type, aggregate_id)
