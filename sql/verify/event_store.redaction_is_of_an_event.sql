-- Every redaction refers to an event that exists.
select r.stream_id, r.aggregate_version
from event_store.redaction as r
where not exists (
  select from event_store.domain_event as e
  where e.stream_id = r.stream_id and e.aggregate_version = r.aggregate_version
)
