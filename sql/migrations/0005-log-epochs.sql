-- Creates the record of the log's epochs.
--
-- A restore, a promoted standby or a copied data directory continues the log from an earlier state: events that readers
-- outside this database have seen are gone, and others take their place. Each time, event_store.begin_epoch begins a
-- new epoch, whose random id no other continuation shares. Checkpoints of such readers contain the epoch in which they
-- were made, so that they can be refused if the log has changed behind them (event_store.check_checkpoint).

create table event_store.log_epoch (
  epoch_number integer not null,
  epoch_id uuid not null default gen_random_uuid(),
  began_after bigint not null,
  reason text not null,
  began_at timestamptz not null default clock_timestamp(),
  system_identifier bigint not null,
  timeline integer not null,
  database_oid oid not null,
  data_directory text,
  constraint log_epoch_pkey primary key (epoch_number),
  constraint log_epoch_epoch_id_key unique (epoch_id),
  constraint log_epoch_epoch_number_is_positive check (epoch_number >= 1),
  constraint log_epoch_began_after_is_not_negative check (began_after >= 0),
  constraint log_epoch_reason_is_not_empty check (reason <> '')
);

comment on table event_store.log_epoch is
  'Epochs of the log: one begins each time the log continues from an earlier state';
comment on column event_store.log_epoch.epoch_number is 'Number of the epoch in this log; the first one is 1';
comment on column event_store.log_epoch.epoch_id is 'Random ID; checkpoints made in the epoch contain it';
comment on column event_store.log_epoch.began_after is
  'Position up to which the log is the same as in the epochs before';
comment on column event_store.log_epoch.reason is 'Why the epoch began, such as a restore';
comment on column event_store.log_epoch.began_at is 'When the epoch began';
comment on column event_store.log_epoch.system_identifier is 'System identifier of the cluster that the epoch began in';
comment on column event_store.log_epoch.timeline is 'Timeline of the cluster when the epoch began';
comment on column event_store.log_epoch.database_oid is 'OID of the database that the epoch began in';
comment on column event_store.log_epoch.data_directory is
  'Data directory of the cluster; null if the owner is no member of pg_read_all_settings';

insert into event_store.log_epoch (
  epoch_number, began_after, reason, system_identifier, timeline, database_oid, data_directory
)
select
  1,
  0,
  'first epoch',
  control.system_identifier,
  ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer,
  (select oid from pg_database where datname = current_database()),
  (select setting from pg_settings where name = 'data_directory')
from pg_control_system() as control;

grant select on table event_store.log_epoch to :{app};
