-- Returns the safe position: the position of the last event up to which the log is complete, 0 if there is none. No
-- event can appear at or below it any more, and no crash of the server can take it back.
--
-- The order of the steps matters: first the last position drawn, then the floors of the transactions in flight. An
-- event at or below both (the bound) was drawn before the first step, and its floor, which is lower, was published
-- before that. Had its transaction not ended by the second step, that floor would have been found. So a *new* snapshot
-- sees the event. The answer is the last event that such a snapshot sees up to the bound. The bound itself would not
-- do: it may be a position of a transaction that was rolled back, and a crash of the server may let it be drawn again.
-- Nor would a bare max(global_position): inside a transaction that has appended, it sees that transaction's own events
-- (decision 0014).
-- The snapshot of the calling statement is older, which is why the statement that reads must not call this function:
-- `where global_position <= event_store.safe_position()` loses events. Use event_store.read_all.
-- What is known to be complete stays complete, so the session remembers its highest answer and the highest bound, and
-- looks for events only above that bound. It reads the entries of events that were rolled back once, not with each
-- call.
-- Another session's answer may be lower, if a writer paused between reading its floor and publishing it.
-- Holds for events committed with synchronous_commit on: a commit that has become visible is then on disk.
-- Errors: 25001 if the isolation level is not READ COMMITTED; 25006 on a standby; 55000 if the sequence was altered.
-- Volatile. Security definer, because the application may not read the sequence. The index on global_position serves
-- it: with random_page_cost = 0, also in a plan that was made while the table was small. enable_seqscan = off would
-- make reading the sequence so expensive on paper that the server compiles the plan each time (jit).
-- Callers: applications; event_store.read_all, event_store.resume_log.
create or replace function event_store.safe_position()
returns bigint
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
set random_page_cost = 0
as $$
declare
  v_last bigint;
  v_floor bigint;
  v_bound bigint;
  v_known constant bigint := coalesce(nullif(current_setting('cqrs.complete_to', true), '')::bigint, 0);
  v_safe bigint := coalesce(nullif(current_setting('cqrs.safe_position', true), '')::bigint, 0);
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

  v_bound := least(v_last, v_floor);
  if v_bound > v_known then
    v_safe := coalesce(
      (
        select global_position
        from event_store.domain_event
        where global_position > v_known and global_position <= v_bound
        order by global_position desc
        limit 1
      ),
      v_safe
    );
    perform set_config('cqrs.complete_to', v_bound::text, false);
    perform set_config('cqrs.safe_position', v_safe::text, false);
  end if;
  return v_safe;
end
$$;

comment on function event_store.safe_position is
  'Position of the last event up to which the log is complete; pass it to read_all, never use it in a condition';

grant execute on function event_store.safe_position to :{app};
