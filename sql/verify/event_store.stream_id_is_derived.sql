-- Every stream's id is the one derived from its aggregate, so that clients can compute it.
select stream_id, aggregate_type, aggregate_id
from event_store.event_stream
where stream_id <> event_store.stream_id_of(aggregate_type, aggregate_id)
