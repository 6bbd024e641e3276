-- Every snapshot belongs to a stream that has reached the version of the snapshot.
select p.stream_id, p.aggregate_version, s.version
from event_store.snapshot as p
left join event_store.event_stream as s on s.stream_id = p.stream_id
where s.stream_id is null or p.aggregate_version > s.version
