-- Reads the snapshot of an aggregate, if there is one of this form of state; the events after it are read by
-- event_store.read_stream with after_version.
create or replace function event_store.load_snapshot(
  aggregate_type varchar,
  aggregate_id uuid,
  state_version integer
)
returns table (
  aggregate_version integer,
  state jsonb,
  taken_at timestamptz
)
language sql
stable
parallel safe
begin atomic
  select snapshot.aggregate_version, snapshot.state, snapshot.taken_at
  from event_store.snapshot
  where snapshot.stream_id = event_store.stream_id_of(load_snapshot.aggregate_type, load_snapshot.aggregate_id)
    and snapshot.state_version = load_snapshot.state_version;
end;

comment on function event_store.load_snapshot is 'Reads the snapshot of an aggregate';

grant execute on function event_store.load_snapshot to :{app};
