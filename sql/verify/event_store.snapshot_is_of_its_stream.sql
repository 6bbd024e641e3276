-- A snapshot was folded from events that are there.
select p.stream_id, p.aggregate_version, s.version
from event_store.snapshot as p
left join event_store.event_stream as s on s.stream_id = p.stream_id
where s.stream_id is null or p.aggregate_version > s.version
