-- Every stream has as many events as its version says, without a gap: versions 1 to n, where n is the stream's version.
select s.stream_id, s.version, coalesce(e.events, 0) as events, e.last_version
from event_store.event_stream as s
left join (
  select stream_id, count(*) as events, max(aggregate_version) as last_version
  from event_store.domain_event
  group by stream_id
) as e on e.stream_id = s.stream_id
where coalesce(e.events, 0) <> s.version or coalesce(e.last_version, 0) <> s.version
