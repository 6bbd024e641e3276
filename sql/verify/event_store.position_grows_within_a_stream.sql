-- Within a stream, positions increase with the versions.
select stream_id, aggregate_version, global_position
from (
  select
    stream_id, aggregate_version, global_position,
    lag(global_position) over (partition by stream_id order by aggregate_version) as previous_position
  from event_store.domain_event
) as e
where global_position <= previous_position
