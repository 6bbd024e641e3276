-- Appends events to the stream of an aggregate: event_store.append for callers that have an array of events.
--
-- Arguments, locks and errors are those of event_store.append. Returns the stream's id.
-- Volatile. Not security definer: event_store.append is.
-- Callers: applications.
create or replace function event_store.append_events(
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_events jsonb[]
)
returns uuid
language plpgsql
volatile
parallel unsafe
as $$
begin
  return (
    event_store.append(
      event_store.stream_id_of(p_aggregate_type, p_aggregate_id),
      p_aggregate_type,
      p_aggregate_id,
      p_expected_version,
      to_jsonb(p_events)
    )
  ).stream_id;
end
$$;

comment on function event_store.append_events is
  'Appends an array of events to a stream atomically, with optimistic locking';

grant execute on function event_store.append_events to :{app};
