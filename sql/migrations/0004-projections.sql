-- Creates the bookkeeping of projections: versions with their lease, checkpoints, and dead letters.
--
-- The application runs the projections, so it reads and writes these tables (default privileges of read_model). The
-- tables that projections fill are the application's own.

-- One row per version. The lease is a row, not a session lock, so that it works behind a transaction pooler. It is kept
-- apart from the checkpoints, so that a heartbeat never waits for a batch.
create table read_model.projection_version (
  name varchar(255) not null,
  version integer not null,
  partition_count integer not null,
  status text not null,
  relations text[] not null default '{}',
  token bigint not null default 0,
  owner text,
  heartbeat_at timestamptz,
  expires_at timestamptz,
  created_at timestamptz not null default current_timestamp,
  served_at timestamptz,
  constraint projection_version_pkey primary key (name, version),
  constraint projection_version_name_is_not_empty check (name <> ''),
  constraint projection_version_version_is_positive check (version >= 1),
  constraint projection_version_partition_count_is_positive check (partition_count >= 1),
  constraint projection_version_status_is_known check (status in ('building', 'serving', 'retired'))
);

comment on table read_model.projection_version is 'Versions of projections: their status and their lease';
comment on column read_model.projection_version.name is 'Name of the projection';
comment on column read_model.projection_version.version is 'Version of the projection''s code';
comment on column read_model.projection_version.partition_count is 'Number of partitions of the streams';
comment on column read_model.projection_version.status is
  'building: fills tables in read_model_next; serving: readers see it; retired: replaced by another version';
comment on column read_model.projection_version.relations is
  'Tables and views it fills, each after those it depends on; dropped when the version is retired';
comment on column read_model.projection_version.token is
  'Fencing token, increased with each new owner; only the newest may write checkpoints';
comment on column read_model.projection_version.owner is
  'Holder of the lease (host, process and run); null if there is none';
comment on column read_model.projection_version.heartbeat_at is 'Last heartbeat of the owner';
comment on column read_model.projection_version.expires_at is
  'When the lease expires and another process may take over';
comment on column read_model.projection_version.created_at is 'When this version first ran';
comment on column read_model.projection_version.served_at is 'When this version began to serve readers';

-- At most one version serves, even if processes race.
create unique index projection_version_serving_idx on read_model.projection_version (name) where status = 'serving';

-- token is on the checkpoint's own row, so that a takeover and the update of a batch in flight exclude each other.
create table read_model.projection (
  name varchar(255) not null,
  version integer not null,
  partition integer not null default 0,
  checkpoint bigint not null default 0,
  updated_at timestamptz not null default current_timestamp,
  token bigint not null default 0,
  constraint projection_pkey primary key (name, version, partition),
  constraint projection_name_is_not_empty check (name <> ''),
  constraint projection_version_is_positive check (version >= 1),
  constraint projection_partition_is_not_negative check (partition >= 0),
  constraint projection_checkpoint_is_not_negative check (checkpoint >= 0)
);

comment on table read_model.projection is 'Checkpoints of projections, written in the transaction of each batch';
comment on column read_model.projection.name is 'Name of the projection';
comment on column read_model.projection.version is 'Version of the projection''s code';
comment on column read_model.projection.partition is 'Partition of the streams, from 0';
comment on column read_model.projection.checkpoint is 'Global position up to which events are projected';
comment on column read_model.projection.updated_at is 'When the checkpoint was written';
comment on column read_model.projection.token is 'Token of the lease under which the checkpoint may be written';

-- Keyed by (stream_id, aggregate_version), not by event_id or position: streams can be distributed over several servers,
-- positions cannot.
create table read_model.dead_letter (
  name varchar(255) not null,
  version integer not null,
  stream_id uuid not null,
  aggregate_version integer not null,
  aggregate_type varchar(255) not null,
  aggregate_id uuid not null,
  event_type varchar(255) not null,
  attempts integer not null,
  error text,
  updated_at timestamptz not null default current_timestamp,
  constraint dead_letter_pkey primary key (name, version, stream_id, aggregate_version)
);

comment on table read_model.dead_letter is
  'Events that a projection failed on, and the later events of their streams, which wait to keep their order';
comment on column read_model.dead_letter.name is 'Name of the projection';
comment on column read_model.dead_letter.version is 'Version of the projection''s code';
comment on column read_model.dead_letter.stream_id is 'The stream of the event';
comment on column read_model.dead_letter.aggregate_version is 'The version of the event in its stream';
comment on column read_model.dead_letter.aggregate_type is 'Type of the aggregate';
comment on column read_model.dead_letter.aggregate_id is 'ID of the aggregate';
comment on column read_model.dead_letter.event_type is 'Type of the event';
comment on column read_model.dead_letter.attempts is 'Number of attempts; 0 if the event waits for an earlier one';
comment on column read_model.dead_letter.error is
  'Error of the last attempt; null if the event waits for an earlier one';
comment on column read_model.dead_letter.updated_at is
  'When the event was last attempted; when it became a dead letter if it was not attempted';
