-- No event is without its stream; there is no foreign key that would see to it.
select e.stream_id, e.aggregate_version
from event_store.domain_event as e
where not exists (select from event_store.event_stream as s where s.stream_id = e.stream_id)
