-- Creates the event store: streams, their events, and the result type of event_store.append_batch.
--
-- stream_id is derived from the aggregate (event_store.stream_id_of) and leads every key, so that the tables can be
-- distributed by it. There is no foreign key from events to streams: it would cost 5 to 12 microseconds per event, and
-- the functions that append, which alone may insert, already guarantee what it would check.

create table event_store.event_stream (
  stream_id uuid not null,
  aggregate_id uuid not null,
  created_at timestamptz not null default current_timestamp,
  version integer not null default 0,
  aggregate_type varchar(255) not null,
  archived_at timestamptz,
  constraint event_stream_pkey primary key (stream_id),
  constraint event_stream_version_is_not_negative check (version >= 0),
  constraint event_stream_aggregate_type_is_not_empty check (aggregate_type <> '')
)
-- Every append updates its stream's row. The free space keeps the new row version on the same page (a HOT update), so
-- that it needs no new index entry.
with (fillfactor = 70);

comment on table event_store.event_stream is 'One row per aggregate: the stream of its events';
comment on column event_store.event_stream.stream_id is
  'Derived from aggregate_type and aggregate_id by event_store.stream_id_of';
comment on column event_store.event_stream.aggregate_id is 'ID of the aggregate';
comment on column event_store.event_stream.created_at is 'When the first event was appended';
comment on column event_store.event_stream.version is
  'Version of the last event, compared by appends (optimistic locking)';
comment on column event_store.event_stream.aggregate_type is 'Type of the aggregate, such as Order';
comment on column event_store.event_stream.archived_at is
  'When the stream was closed to new events; null while it is open';

-- Cache 1: a session that cached numbers would use a low one after readers had moved past it.
create sequence event_store.domain_event_global_position as bigint cache 1;

comment on sequence event_store.domain_event_global_position is 'Source of the global positions of events';

-- Fixed-width columns come first, so that there is no padding between them.
create table event_store.domain_event (
  global_position bigint not null default nextval('event_store.domain_event_global_position'),
  occurred_at timestamptz not null default current_timestamp,
  event_id uuid not null default gen_random_uuid(),
  stream_id uuid not null,
  aggregate_version integer not null,
  event_version integer not null default 1,
  event_type varchar(255) not null,
  event_data jsonb not null,
  metadata jsonb,
  causation_id uuid,
  correlation_id uuid,
  constraint domain_event_pkey primary key (stream_id, aggregate_version),
  constraint domain_event_event_id_key unique (event_id),
  constraint domain_event_aggregate_version_is_positive check (aggregate_version >= 1),
  constraint domain_event_event_version_is_positive check (event_version >= 1),
  constraint domain_event_event_type_is_not_empty check (event_type <> '')
);

alter sequence event_store.domain_event_global_position owned by event_store.domain_event.global_position;

comment on table event_store.domain_event is 'Immutable domain events of all streams';
comment on column event_store.domain_event.global_position is
  'Position in the log of all streams; increasing, with gaps';
comment on column event_store.domain_event.occurred_at is
  'Start of the transaction that appended the event, unless it was inserted with another time';
comment on column event_store.domain_event.event_id is 'Unique ID of the event; makes an append idempotent';
comment on column event_store.domain_event.stream_id is 'The stream of the event';
comment on column event_store.domain_event.aggregate_version is 'Version of the aggregate after this event';
comment on column event_store.domain_event.event_version is 'Version of the event''s schema, for upcasting';
comment on column event_store.domain_event.event_type is 'Type of the event, such as OrderPlaced';
comment on column event_store.domain_event.event_data is 'What happened';
comment on column event_store.domain_event.metadata is 'Context of the event: user, tenant, trace';
comment on column event_store.domain_event.causation_id is 'ID of the command that caused the event';
comment on column event_store.domain_event.correlation_id is 'Correlation ID shared by related events';

-- Serves readers of the whole log. Not unique: all positions come from one sequence.
create index domain_event_global_position_idx on event_store.domain_event (global_position);
-- Serves readers of a few event types.
create index domain_event_event_type_global_position_idx on event_store.domain_event (event_type, global_position);
-- Serves time ranges. Events arrive in this order, so a summary per block range is enough.
create index domain_event_occurred_at_idx on event_store.domain_event using brin (occurred_at);
-- Partial, because most events have no correlation ID.
create index domain_event_correlation_id_idx on event_store.domain_event (correlation_id)
where correlation_id is not null;

create type event_store.append_result as (
  stream_id uuid,
  first_version integer,
  last_version integer,
  last_position bigint,
  deduplicated boolean,
  sqlstate text,
  detail text,
  message text
);

comment on type event_store.append_result is
  'Result of one element of event_store.append_batch: where its events are stored, or the error';

-- No other privileges: the application writes through functions, and triggers refuse changes even to the owner.
grant select on table event_store.event_stream to :{app};
grant select on table event_store.domain_event to :{app};
