-- Every stream has as many events as its version says, without a gap: versions 1 to n, where n is the stream's version.
select s.stream_id, s.version, count(e.stream_id) as events, max(e.aggregate_version) as last_version
from event_store.event_stream as s
left join event_store.domain_event as e on e.stream_id = s.stream_id
group by s.stream_id, s.version
having count(e.stream_id) <> s.version or coalesce(max(e.aggregate_version), 0) <> s.version
