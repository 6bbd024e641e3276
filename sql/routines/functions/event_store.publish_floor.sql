-- Publishes a lower bound (the floor) of the positions that this transaction will draw, as a shared advisory lock that
-- readers see in pg_locks (event_store.safe_position). PostgreSQL releases it after the commit has become visible.
--
-- The key has the tag 0xE5 in its upper 16 bits, which keeps it apart from an application's own advisory locks, and the
-- last position drawn so far in the lower 48. One lock per transaction keeps the lock table small; the setting that
-- remembers the lock is rolled back together with it.
-- Errors: 54000 if the 48 bits are used up.
-- Security definer, because the application may not read the sequence.
-- Callers: the trigger domain_event_publishes_floor.
create or replace function event_store.publish_floor()
returns trigger
language plpgsql
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_transaction constant text := pg_current_xact_id()::text;
  v_floor bigint;
begin
  if current_setting('cqrs.floor_xid', true) is distinct from v_transaction then
    -- Null if no position was ever drawn.
    v_floor := coalesce(pg_sequence_last_value('event_store.domain_event_global_position'), 0);
    if v_floor >= 1::bigint << 48 then
      raise exception using
        errcode = 'program_limit_exceeded',
        message = format(
          'the event store has run out of positions: the last one is %s, the limit is %s',
          v_floor, (1::bigint << 48) - 1
        );
    end if;
    perform pg_advisory_xact_lock_shared((229::bigint << 48) | v_floor);
    perform set_config('cqrs.floor_xid', v_transaction, true);
    -- A projection's commits do not wait for the disk. If its code appends, they must: a crash would take back events
    -- that readers have seen.
    if current_setting('cqrs.projection', true) = 'on' then
      perform set_config('synchronous_commit', 'on', true);
    end if;
  end if;
  return null;
end
$$;

comment on function event_store.publish_floor is
  'Publishes the position below which this transaction will draw none';
