-- Shows how far each projection is behind the log, who holds its lease, and who holds back the end of the log.
--
-- If the owner of a version is "inline", the transactions that append handle its events. Then only events of its types
-- count that are stored after the last one that was handled: their writers bypassed the projection. The index on
-- (event_type, global_position) serves that.
-- lag_events counts the events stored after the checkpoint, including those that the projection does not handle. The
-- index on global_position serves it, in time proportional to the count. lag_seconds is the age of the first of them.
-- If the checkpoint is beyond the last position drawn, the log was rewound, and lag_events is the negative distance:
-- the projection fails with UE008. Then, and if the server is not the one in which the log's epoch began, log_problem
-- says so.
-- The holder is the transaction that holds the log back furthest; shown only if events are stored beyond its position.
-- A prepared transaction has a gid and no pid. event_store.horizon_holder() is security definer, so it sees the
-- sessions of other logins.
-- Do not use these positions as a bound for reading the log: use event_store.safe_position().
-- Callers: applications; `projections list`.
create or replace view read_model.projection_lag as
select
  version.name,
  version.version,
  version.status,
  version.partition_count,
  progress.checkpoint,
  case
    when progress.checkpoint > drawn.position then drawn.position - progress.checkpoint
    when progress.inline_types is not null then (
      select count(*)
      from unnest(progress.inline_types) as wanted (event_type)
      join event_store.domain_event as event
        on event.event_type = wanted.event_type and event.global_position > progress.checkpoint
    )
    else (select count(*) from event_store.domain_event as event where event.global_position > progress.checkpoint)
  end as lag_events,
  coalesce(
    case
      when progress.inline_types is not null then (
        select greatest(extract(epoch from clock_timestamp() - min(event.occurred_at)), 0)
        from unnest(progress.inline_types) as wanted (event_type)
        join event_store.domain_event as event
          on event.event_type = wanted.event_type and event.global_position > progress.checkpoint
      )
      else (
        select greatest(extract(epoch from clock_timestamp() - event.occurred_at), 0)
        from event_store.domain_event as event
        where event.global_position > progress.checkpoint
        order by event.global_position
        limit 1
      )
    end,
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
  holder.since as holder_since,
  nullif(
    concat_ws(
      '; ',
      case
        when progress.checkpoint > drawn.position
          then format('UE008: the log was rewound: it ends before the checkpoint, at %s', drawn.position)
      end,
      mismatch.description
    ),
    ''
  ) as log_problem
from read_model.projection_version as version
cross join (select event_store.last_drawn_position() as position) as drawn
cross join lateral (
  select
    coalesce(
      greatest(
        min(part.checkpoint),
        (
          select max(inline.position)
          from read_model.inline_position as inline
          where inline.name = version.name and inline.version = version.version
        )
      ),
      0
    ) as checkpoint,
    case when version.owner = 'inline' then nullif(version.events, '{}') end as inline_types
  from read_model.projection as part
  where part.name = version.name and part.version = version.version
) as progress
cross join (
  select string_agg(format('the %s is %s, the epoch began on %s', fact, actual, recorded), '; ') as description
  from event_store.epoch_mismatch()
) as mismatch
left join lateral (
  select furthest.*
  from (select * from event_store.horizon_holder() order by held_position limit 1) as furthest
  where furthest.held_position < (select max(event.global_position) from event_store.domain_event as event)
) as holder on true
where version.status <> 'retired';

comment on view read_model.projection_lag is
  'How far each projection is behind the log, who holds its lease, and who holds back the end of the log';
comment on column read_model.projection_lag.name is 'Name of the projection';
comment on column read_model.projection_lag.version is 'Version of the projection''s code';
comment on column read_model.projection_lag.status is 'building or serving';
comment on column read_model.projection_lag.partition_count is 'Number of partitions of the streams';
comment on column read_model.projection_lag.checkpoint is 'Position up to which all partitions are projected';
comment on column read_model.projection_lag.lag_events is 'Number of events stored after the checkpoint';
comment on column read_model.projection_lag.lag_seconds is 'Age of the first event after the checkpoint, in seconds';
comment on column read_model.projection_lag.owner is
  'Holder of the lease; inline if the transactions that append handle its events';
comment on column read_model.projection_lag.heartbeat_at is 'Last heartbeat of the owner';
comment on column read_model.projection_lag.expires_at is
  'When the lease expires and another process may take over';
comment on column read_model.projection_lag.dead_letters is 'Number of dead letters';
comment on column read_model.projection_lag.held_position is 'Position beyond which the holder prevents reading';
comment on column read_model.projection_lag.holder_pid is 'Process ID of the holder''s session';
comment on column read_model.projection_lag.holder_gid is 'Global identifier of the holder''s prepared transaction';
comment on column read_model.projection_lag.holder_login is 'Login of the holder';
comment on column read_model.projection_lag.holder_application_name is 'Application of the holder';
comment on column read_model.projection_lag.holder_state is 'State of the holder''s session, or prepared';
comment on column read_model.projection_lag.holder_since is 'When the holder''s transaction began';
comment on column read_model.projection_lag.log_problem is
  'Why the log may have been rewound behind the projection and other readers; null if it has not';
