-- Returns the safe position: the position up to which the log is complete. No event can appear at or below it any more.
--
-- The order of the steps matters: first the last position drawn, then the floors of the transactions in flight. An
-- event at or below both was drawn before the first step, and its floor, which is lower, was published before that. Had
-- its transaction not ended by the second step, that floor would have been found. So a *new* snapshot sees the event.
-- The snapshot of the calling statement is older, which is why the statement that reads must not call this function:
-- `where global_position <= event_store.safe_position()` loses events. Use event_store.read_all.
-- A later answer may be lower, if a writer paused between reading its floor and publishing it. The higher one remains
-- valid. The session remembers its highest answer, so that event_store.read_all can distinguish it from a guess.
-- Errors: 25001 if the isolation level is not READ COMMITTED; 25006 on a standby; 55000 if the sequence was altered.
-- Volatile. Security definer, because the application may not read the sequence.
-- Callers: applications; event_store.read_all.
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
      message = format('the log cannot be read in a %s transaction', current_setting('transaction_isolation')),
      detail = 'Its snapshot is older than the safe position, so the reader would skip events.',
      hint = 'Read the log in a READ COMMITTED transaction, or outside a transaction.';
  elsif pg_is_in_recovery() then
    raise exception using
      errcode = 'read_only_sql_transaction',
      message = 'the log cannot be read on a standby',
      detail = 'A standby does not know which transactions are in flight on the primary.',
      hint = 'Read the log on the primary.';
  elsif (
    select seqcache <> 1 or seqincrement <> 1 or seqcycle
    from pg_sequence where seqrelid = 'event_store.domain_event_global_position'::regclass
  ) then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'the sequence event_store.domain_event_global_position was altered; readers could lose events',
      hint = 'Run "alter sequence event_store.domain_event_global_position increment 1 cache 1 no cycle".';
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
  'Position up to which the log is complete; pass it to event_store.read_all, never use it in a condition';

grant execute on function event_store.safe_position to :{app};
