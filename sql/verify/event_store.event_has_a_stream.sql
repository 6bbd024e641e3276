-- Every event has a stream. No foreign key ensures this.
select e.stream_id, e.aggregate_version
from event_store.domain_event as e
where not exists (select from event_store.event_stream as s where s.stream_id = e.stream_id)
