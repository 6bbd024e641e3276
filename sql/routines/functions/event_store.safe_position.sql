-- The greatest position below or at which no event can appear any more: what a reader may take as read.
--
-- The order matters. First the last position drawn, then the floors of the transactions that are still at work; an event
-- at or below both was drawn before the first step, so its floor was published before it, so its transaction had ended
-- by the second, and a *new* snapshot sees it. Therefore it must not stand in the statement that reads: `where
-- global_position <= event_store.safe_position()` loses events. Use event_store.read_all.
-- A later answer may be lower, when a writer paused between reading its floor and publishing it; the higher one stays true.
-- The greatest answer of a session is remembered, so that event_store.read_all can tell it from a guess.
-- Raises 25001 in another isolation level than READ COMMITTED, 25006 on a standby, 55000 when the sequence was altered.
-- Volatile. Security definer: an application may not read the sequence.
create or replace function event_store.safe_position()
returns bigint
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_last bigint;
  v_floor bigint;
  v_safe bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('the log can''t be read in a %s transaction', current_setting('transaction_isolation')),
      detail = 'Its snapshot is older than the question which events are complete; events would be lost.',
      hint = 'Read it in a READ COMMITTED transaction, or outside of one.';
  elsif pg_is_in_recovery() then
    raise exception using
      errcode = 'read_only_sql_transaction',
      message = 'the log can''t be read on a standby',
      detail = 'A standby does not know which transactions of the primary are still at work.',
      hint = 'Read it on the primary.';
  elsif (
    select seqcache <> 1 or seqincrement <> 1 or seqcycle
    from pg_sequence where seqrelid = 'event_store.domain_event_global_position'::regclass
  ) then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'the sequence event_store.domain_event_global_position was altered; readers could lose events',
      hint = 'alter sequence event_store.domain_event_global_position increment 1 cache 1 no cycle';
  end if;

  select case when is_called then last_value else last_value - 1 end into v_last
  from event_store.domain_event_global_position;

  select min((classid::bigint & 65535) << 32 | objid::bigint) into v_floor
  from pg_locks
  where locktype = 'advisory'
    and objsubid = 1
    and classid::bigint >> 16 = 229
    and mode = 'ShareLock'
    and granted
    and database = (select oid from pg_database where datname = current_database());

  v_safe := least(v_last, v_floor);
  if v_safe > coalesce(nullif(current_setting('cqrs.safe_position', true), '')::bigint, -1) then
    perform set_config('cqrs.safe_position', v_safe::text, false);
  end if;
  return v_safe;
end
$$;

comment on function event_store.safe_position is
  'The position up to which the log is complete; to be passed to event_store.read_all, never to stand in a condition';

grant execute on function event_store.safe_position to :{app};
