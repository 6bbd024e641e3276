-- Returns the snapshot of an aggregate with this state_version, or no row. To load the aggregate, read the later events
-- with event_store.read_stream and after_version.
--
-- Stable. The primary key of event_store.snapshot serves it.
-- Callers: applications.
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

comment on function event_store.load_snapshot is 'Returns the snapshot of an aggregate';

grant execute on function event_store.load_snapshot to :{app};
