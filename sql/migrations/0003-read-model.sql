-- The read side: how far each projection has come. Its tables are the application's own.

create table read_model.projection (
  name varchar(255) not null,
  version integer not null,
  partition integer not null default 0,
  checkpoint bigint not null default 0,
  updated_at timestamptz not null default current_timestamp,
  constraint projection_pkey primary key (name, version, partition),
  constraint projection_name_is_not_empty check (name <> ''),
  constraint projection_version_is_positive check (version >= 1),
  constraint projection_partition_is_not_negative check (partition >= 0),
  constraint projection_checkpoint_is_not_negative check (checkpoint >= 0)
);

comment on table read_model.projection is 'How far each projection has come; written in the transaction of its batch';
comment on column read_model.projection.name is 'Name of the projection';
comment on column read_model.projection.version is 'Version of its code; a new one is built beside the old';
comment on column read_model.projection.partition is 'Which share of the streams this row is about';
comment on column read_model.projection.checkpoint is 'Global position up to which events are projected';
comment on column read_model.projection.updated_at is 'When the checkpoint was written';
