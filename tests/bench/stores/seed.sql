-- The tables, indexes and function of the seed document as they stand there, for comparison only.
create extension if not exists "uuid-ossp" with schema public;
create schema event_store;

create table event_store.event_stream (
  stream_id uuid primary key default public.uuid_generate_v4(),
  aggregate_type varchar(255) not null,
  aggregate_id uuid not null,
  created_at timestamp with time zone default current_timestamp,
  version integer not null default 0,
  unique (aggregate_type, aggregate_id)
);

create index idx_event_stream_aggregate on event_store.event_stream (aggregate_type, aggregate_id);

create table event_store.domain_event (
  event_id uuid primary key default public.uuid_generate_v4(),
  stream_id uuid not null references event_store.event_stream (stream_id),
  event_type varchar(255) not null,
  event_version integer not null,
  aggregate_version integer not null,
  event_data jsonb not null,
  metadata jsonb,
  occurred_at timestamp with time zone default current_timestamp,
  causation_id uuid,
  correlation_id uuid
);

create index idx_domain_event_stream on event_store.domain_event (stream_id, aggregate_version);
create index idx_domain_event_type on event_store.domain_event (event_type);
create index idx_domain_event_occurred on event_store.domain_event (occurred_at desc);
create index idx_domain_event_correlation on event_store.domain_event (correlation_id);
create index idx_domain_event_data on event_store.domain_event using gin (event_data);

create function event_store.append_events(
  p_aggregate_type varchar,
  p_aggregate_id uuid,
  p_expected_version integer,
  p_events jsonb[]
)
returns uuid
language plpgsql
as $$
declare
  v_stream_id uuid;
  v_current_version integer;
  v_event jsonb;
  v_new_version integer;
begin
  insert into event_stream (aggregate_type, aggregate_id, version)
  values (p_aggregate_type, p_aggregate_id, 0)
  on conflict (aggregate_type, aggregate_id) do nothing
  returning stream_id, version into v_stream_id, v_current_version;

  if v_stream_id is null then
    select stream_id, version into v_stream_id, v_current_version
    from event_stream
    where aggregate_type = p_aggregate_type and aggregate_id = p_aggregate_id;
  end if;

  if v_current_version != p_expected_version then
    raise exception 'Concurrency violation: expected version %, but current version is %',
      p_expected_version, v_current_version;
  end if;

  v_new_version := v_current_version;
  foreach v_event in array p_events loop
    v_new_version := v_new_version + 1;
    insert into domain_event (
      stream_id, event_type, event_version, aggregate_version, event_data, metadata, causation_id, correlation_id
    ) values (
      v_stream_id,
      v_event->>'event_type',
      (v_event->>'event_version')::integer,
      v_new_version,
      v_event->'event_data',
      v_event->'metadata',
      (v_event->>'causation_id')::uuid,
      (v_event->>'correlation_id')::uuid
    );
  end loop;

  update event_stream set version = v_new_version where stream_id = v_stream_id;
  return v_stream_id;
end
$$;
