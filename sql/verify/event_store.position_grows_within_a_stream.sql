-- Within a stream, positions increase with the versions. Comparing neighbours is enough: versions have no gap
-- (event_store.stream_ends_with_its_version).
select e.stream_id, e.aggregate_version, e.global_position
from event_store.domain_event as e
join event_store.domain_event as previous
  on previous.stream_id = e.stream_id and previous.aggregate_version = e.aggregate_version - 1
where e.global_position <= previous.global_position
