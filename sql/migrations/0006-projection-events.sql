-- Stores the event types of each projection version, so that a changed list is noticed: the stored events of a type
-- that was added would never be handled.
--
-- Versions that were registered before have null; their next run fills it in.

alter table read_model.projection_version add column events text[];

comment on column read_model.projection_version.events is
  'Types of events it handles; empty: all; null: registered before the column existed';
