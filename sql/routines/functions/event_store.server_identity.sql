-- Returns what distinguishes the place where this database runs from copies of it: the system identifier of the
-- cluster, its timeline, which a promotion or a recovery to a point in time changes, the OID of the database, and the
-- path of the data directory.
--
-- On a standby the timeline and the data directory are null: it continues no log, and its directory is its own. The
-- data directory is also null if the owner is no member of pg_read_all_settings; bootstrap makes it one if it may.
-- Stable.
-- Callers: event_store.begin_epoch, event_store.epoch_mismatch.
create or replace function event_store.server_identity(
  out system_identifier bigint,
  out timeline integer,
  out database_oid oid,
  out data_directory text
)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
begin atomic
  select
    control.system_identifier,
    case
      when not pg_is_in_recovery()
        then ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    end,
    (select oid from pg_database where datname = current_database()),
    case
      when not pg_is_in_recovery()
        then (select setting from pg_settings where name = 'data_directory')
    end
  from pg_control_system() as control;
end;

comment on function event_store.server_identity is
  'Identifies the cluster, its timeline, the database and the data directory';
