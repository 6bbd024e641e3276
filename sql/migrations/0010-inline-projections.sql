-- Stores how far the appends with inline projections have come. Each backend has a row of its own, so that appends to
-- different streams do not wait for each other.
--
-- A row is written in the transaction of the append. So if one snapshot has an event for a version beyond its checkpoint
-- and these positions, the writer of that event bypassed the projection.

create table read_model.inline_position (
  name varchar(255) not null,
  version integer not null,
  backend_pid integer not null,
  position bigint not null,
  constraint inline_position_pkey primary key (name, version, backend_pid)
);

comment on table read_model.inline_position is 'How far the appends with inline projections have come, by backend';
comment on column read_model.inline_position.name is 'Name of the projection';
comment on column read_model.inline_position.version is 'Version of the projection''s code';
comment on column read_model.inline_position.backend_pid is 'Process ID of the backend that appended';
comment on column read_model.inline_position.position is 'Global position of the last event that it has handled';
