-- Appends events to the stream of an aggregate: event_store.append, for callers with an array of events.
--
-- Takes, locks and raises what that does; returns the stream's id. Security definer is not needed for it.
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
  'Atomically append events to an aggregate stream with optimistic locking';

grant execute on function event_store.append_events to :{app};
