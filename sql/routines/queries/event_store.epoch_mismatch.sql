-- Lists how the place where this database runs differs from the one in which its current epoch began. A row means that
-- the log may have been rewound by something that does not call event_store.begin_epoch: the promotion of a standby, a
-- recovery to a point in time, a copy of the data directory or of the database, or pg_upgrade. A data directory that
-- was only moved is reported as well.
--
-- fact: system identifier, timeline, database or data directory; recorded, actual: its values.
-- Stable. Security definer, because the application may not call event_store.server_identity.
-- Callers: applications; read_model.projection_lag; status; sql/verify.
create or replace function event_store.epoch_mismatch()
returns table (fact text, recorded text, actual text)
language sql
stable
security definer
parallel safe
set search_path = pg_catalog, pg_temp
begin atomic
  select difference.fact, difference.recorded, difference.actual
  from (select * from event_store.log_epoch order by epoch_number desc limit 1) as epoch
  cross join event_store.server_identity() as server
  cross join lateral (
    values
      ('system identifier', epoch.system_identifier::text, server.system_identifier::text),
      ('timeline', epoch.timeline::text, coalesce(server.timeline, epoch.timeline)::text),
      ('database', epoch.database_oid::text, server.database_oid::text),
      ('data directory', epoch.data_directory, server.data_directory)
  ) as difference (fact, recorded, actual)
  where difference.recorded <> difference.actual;
end;

comment on function event_store.epoch_mismatch is
  'How this server differs from the one in which the current epoch of the log began; if it does, begin a new epoch';

grant execute on function event_store.epoch_mismatch to :{app};
