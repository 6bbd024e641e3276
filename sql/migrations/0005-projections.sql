-- What runs projections: the lease and state of each version, the token that fences a former owner off, events that were
-- set aside, and the schema in which a new version is built while the old one serves.

-- A row a version. The lease is a row and no session lock, so that it works behind a pooler of transactions. It is apart
-- from the checkpoints, so that a heartbeat never waits for a batch.
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

comment on table read_model.projection_version is 'Versions of projections: which one serves, and who is at work on it';
comment on column read_model.projection_version.name is 'Name of the projection';
comment on column read_model.projection_version.version is 'Version of its code';
comment on column read_model.projection_version.partition_count is 'Into how many shares the streams are divided';
comment on column read_model.projection_version.status is
  'building: fills tables in read_model_next; serving: is what readers see; retired: another took its place';
comment on column read_model.projection_version.relations is
  'Tables and views it fills, each after those it is made of; dropped when the version is retired';
comment on column read_model.projection_version.token is
  'Grows with each owner; a checkpoint is written by the newest one alone';
comment on column read_model.projection_version.owner is 'Who holds the lease: host, process and run; null when nobody does';
comment on column read_model.projection_version.heartbeat_at is 'When the owner last showed that it lives';
comment on column read_model.projection_version.expires_at is 'From when on another may take the lease over';
comment on column read_model.projection_version.created_at is 'When this version was first run';
comment on column read_model.projection_version.served_at is 'When it became the one that readers see';

-- Whatever two processes do at the same time, readers see one version.
create unique index projection_version_serving_idx on read_model.projection_version (name) where status = 'serving';

-- On the checkpoint's own row: the update that takes over and the update of a batch under way wait for each other.
alter table read_model.projection add column token bigint not null default 0;

comment on column read_model.projection.token is 'Token of the lease under which the checkpoint may be written';

-- Not by event_id or position: (stream_id, aggregate_version) is what leads to an event on any number of servers.
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
  parked_at timestamptz not null default current_timestamp,
  constraint dead_letter_pkey primary key (name, version, stream_id, aggregate_version)
);

comment on table read_model.dead_letter is
  'Events that a projection set aside: those it failed on, and the later ones of their streams, whose order is kept so';
comment on column read_model.dead_letter.name is 'Name of the projection';
comment on column read_model.dead_letter.version is 'Version of the projection';
comment on column read_model.dead_letter.stream_id is 'The stream of the event';
comment on column read_model.dead_letter.aggregate_version is 'The version of the event in its stream';
comment on column read_model.dead_letter.aggregate_type is 'Type of the aggregate';
comment on column read_model.dead_letter.aggregate_id is 'ID of the aggregate';
comment on column read_model.dead_letter.event_type is 'Type of the event';
comment on column read_model.dead_letter.attempts is 'How often it was tried; 0 when it only waits for an earlier one';
comment on column read_model.dead_letter.error is 'What it failed with; null when it only waits for an earlier one';
comment on column read_model.dead_letter.parked_at is 'When it was set aside, or tried for the last time';

-- The same names as in read_model, so that everything, indexes and constraints included, keeps its name when it moves.
create schema read_model_next;

comment on schema read_model_next is 'Tables of projections that are being built beside those that serve';

grant usage, create on schema read_model_next to :{app};
