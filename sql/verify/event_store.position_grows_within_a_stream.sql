-- Positions are drawn once each, and in the order of the versions of a stream, which have no gap.
select e.stream_id, e.aggregate_version, e.global_position
from event_store.domain_event as e
join event_store.domain_event as previous
  on previous.stream_id = e.stream_id and previous.aggregate_version = e.aggregate_version - 1
where e.global_position <= previous.global_position
