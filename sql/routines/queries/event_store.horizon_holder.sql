-- Lists the transactions that hold back the end of the readable log: those that have published a floor and have not
-- ended yet, the one with the lowest floor first. A prepared transaction has a gid and no pid.
--
-- held_position: its floor; until the transaction ends, the log cannot be read beyond it.
-- Stable. Security definer: application_name, state and since of other logins' sessions are visible only to members of
-- pg_read_all_stats. Bootstrap makes the owner a member if it may; otherwise these columns are null.
-- Callers: applications; read_model.projection_lag.
create or replace function event_store.horizon_holder()
returns table (
  held_position bigint,
  pid integer,
  gid text,
  login name,
  application_name text,
  state text,
  since timestamptz
)
language sql
stable
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
begin atomic
  select
    (floor.classid::bigint & 65535) << 32 | floor.objid::bigint,
    floor.pid,
    prepared.gid,
    coalesce(session.usename, prepared.owner),
    nullif(session.application_name, ''),
    case when prepared.gid is not null then 'prepared' else session.state end,
    coalesce(session.xact_start, prepared.prepared)
  from pg_catalog.pg_locks as floor
  left join pg_catalog.pg_stat_activity as session on session.pid = floor.pid
  left join pg_catalog.pg_locks as identity
    on floor.pid is null
    and identity.locktype = 'transactionid'
    and identity.virtualtransaction = floor.virtualtransaction
  left join pg_catalog.pg_prepared_xacts as prepared on prepared.transaction = identity.transactionid
  where floor.locktype = 'advisory'
    and floor.objsubid = 1
    and floor.classid::bigint >> 16 = 229
    and floor.mode = 'ShareLock'
    and floor.granted
    and floor.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
  order by 1, 7;
end;

comment on function event_store.horizon_holder is
  'Transactions that hold back the end of the readable log, and since when';

grant execute on function event_store.horizon_holder to :{app};
