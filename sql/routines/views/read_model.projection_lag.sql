-- How far each projection is behind the log, who works on it, and who holds the end of the readable log back.
--
-- lag_events counts what is stored after the checkpoint, events that the projection doesn't want included, by the index
-- on global_position: as long as it takes to read that many entries. lag_seconds is the age of the first of them.
-- The holder is the transaction that holds the log back furthest, where anything is stored beyond what it allows to read;
-- a prepared transaction has a gid and no pid. event_store.horizon_holder() is the security definer function that sees
-- other logins' sessions. Nothing here is a bound to read the log by: that is event_store.safe_position().
create or replace view read_model.projection_lag as
select
  version.name,
  version.version,
  version.status,
  version.partition_count,
  progress.checkpoint,
  (
    select count(*) from event_store.domain_event as event where event.global_position > progress.checkpoint
  ) as lag_events,
  coalesce(
    (
      select greatest(extract(epoch from clock_timestamp() - event.occurred_at), 0)
      from event_store.domain_event as event
      where event.global_position > progress.checkpoint
      order by event.global_position
      limit 1
    ),
    0
  )::double precision as lag_seconds,
  version.owner,
  version.heartbeat_at,
  version.expires_at,
  (
    select count(*)
    from read_model.dead_letter as letter
    where letter.name = version.name and letter.version = version.version
  ) as dead_letters,
  holder.held_position,
  holder.pid as holder_pid,
  holder.gid as holder_gid,
  holder.login as holder_login,
  holder.application_name as holder_application_name,
  holder.state as holder_state,
  holder.since as holder_since
from read_model.projection_version as version
cross join lateral (
  select coalesce(min(part.checkpoint), 0) as checkpoint
  from read_model.projection as part
  where part.name = version.name and part.version = version.version
) as progress
left join lateral (
  select furthest.*
  from (select * from event_store.horizon_holder() order by held_position limit 1) as furthest
  where furthest.held_position < (select max(event.global_position) from event_store.domain_event as event)
) as holder on true
where version.status <> 'retired';

comment on view read_model.projection_lag is
  'How far each projection is behind the log, who works on it, and who holds the end of the log back';
comment on column read_model.projection_lag.name is 'Name of the projection';
comment on column read_model.projection_lag.version is 'Version of its code';
comment on column read_model.projection_lag.status is 'building or serving';
comment on column read_model.projection_lag.partition_count is 'Into how many shares the streams are divided';
comment on column read_model.projection_lag.checkpoint is 'Position up to which all shares are projected';
comment on column read_model.projection_lag.lag_events is 'How many events are stored after the checkpoint';
comment on column read_model.projection_lag.lag_seconds is 'Age of the first event after the checkpoint, in seconds';
comment on column read_model.projection_lag.owner is 'Who holds the lease';
comment on column read_model.projection_lag.heartbeat_at is 'When the owner last showed that it lives';
comment on column read_model.projection_lag.expires_at is 'From when on another may take the lease over';
comment on column read_model.projection_lag.dead_letters is 'How many events were set aside';
comment on column read_model.projection_lag.held_position is 'Position beyond which the holder lets nobody read';
comment on column read_model.projection_lag.holder_pid is 'Process of the holder''s session';
comment on column read_model.projection_lag.holder_gid is 'Name of the holder''s prepared transaction';
comment on column read_model.projection_lag.holder_login is 'Login of the holder';
comment on column read_model.projection_lag.holder_application_name is 'Application of the holder';
comment on column read_model.projection_lag.holder_state is 'State of the holder''s session, or prepared';
comment on column read_model.projection_lag.holder_since is 'When the holder''s transaction began';
