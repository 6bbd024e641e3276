-- Streams and events.
--
-- stream_id is derived from the aggregate (event_store.stream_id_of) and leads every key, so that the tables can be
-- distributed by it. There is no foreign key from an event to its stream: it would cost 5 to 12 microseconds an event
-- to prove what the functions that alone may insert guarantee.

create table event_store.event_stream (
  stream_id uuid not null,
  aggregate_id uuid not null,
  created_at timestamptz not null default current_timestamp,
  version integer not null default 0,
  aggregate_type varchar(255) not null,
  constraint event_stream_pkey primary key (stream_id),
  constraint event_stream_version_is_not_negative check (version >= 0),
  constraint event_stream_aggregate_type_is_not_empty check (aggregate_type <> '')
)
-- Each append updates its stream's row; the room lets the new version stay on the page, without an index entry.
with (fillfactor = 70);

comment on table event_store.event_stream is 'Aggregate event streams';
comment on column event_store.event_stream.stream_id is 'Derived from type and id: event_store.stream_id_of';
comment on column event_store.event_stream.aggregate_id is 'ID of the aggregate whose events these are';
comment on column event_store.event_stream.created_at is 'When the stream got its first event';
comment on column event_store.event_stream.version is 'Current version for optimistic locking';
comment on column event_store.event_stream.aggregate_type is 'Type of the aggregate, such as Order';

-- Cache 1: a session that held numbers in reserve would hand out a low one after others had read past it.
create sequence event_store.domain_event_global_position as bigint cache 1;

comment on sequence event_store.domain_event_global_position is 'Draws the global position of each event';

-- Columns of fixed width first: no padding between them.
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

comment on table event_store.domain_event is 'Immutable domain events';
comment on column event_store.domain_event.global_position is 'Place in the log of all streams; grows, with gaps';
comment on column event_store.domain_event.occurred_at is 'When the event was appended, unless the caller knew better';
comment on column event_store.domain_event.event_id is 'Unique ID of the event';
comment on column event_store.domain_event.stream_id is 'The stream it belongs to';
comment on column event_store.domain_event.aggregate_version is 'Version of aggregate after this event';
comment on column event_store.domain_event.event_version is 'Version of the event''s schema, for upcasting';
comment on column event_store.domain_event.event_type is 'Type of the event, such as OrderPlaced';
comment on column event_store.domain_event.event_data is 'What happened';
comment on column event_store.domain_event.metadata is 'What else is known: user, tenant, trace';
comment on column event_store.domain_event.causation_id is 'ID of command that caused this event';
comment on column event_store.domain_event.correlation_id is 'Correlation ID for tracking related events';

-- Readers of the whole log; not unique, since positions come from one sequence.
create index domain_event_global_position_idx on event_store.domain_event (global_position);
-- Readers of a few types.
create index domain_event_event_type_global_position_idx on event_store.domain_event (event_type, global_position);
-- Ranges of time: events arrive in its order, so a summary of each block range is enough.
create index domain_event_occurred_at_idx on event_store.domain_event using brin (occurred_at);
-- Most events have no correlation.
create index domain_event_correlation_id_idx on event_store.domain_event (correlation_id)
where correlation_id is not null;

-- Nobody but the owner may change a row, and the trigger domain_event_is_immutable refuses it even to the owner.
grant select on table event_store.event_stream to :{app};
grant select on table event_store.domain_event to :{app};
