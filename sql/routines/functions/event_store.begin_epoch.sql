-- Begins a new epoch of the log. Call it whenever the log continues from an earlier state, before writers are let in:
-- after promoting a standby that may lack commits, after recovering to a point in time, and in a copy of a database or
-- data directory that is written to. A restore calls it itself.
--
-- began_after: the position up to which the log is the same as before; the last event up to there is recorded. By
-- default, the last event of all, which is right if no commit was lost, or if what was lost is a range of positions. A
-- standby applies commits in another order than that of positions, so after a promotion that lost commits pass a
-- position from before the loss.
-- skip_positions: whether to leave out positions that other continuations of the log may have drawn
-- (event_store.skip_positions). Pass false only if they have no readers.
-- Returns the epoch's id.
-- Locks event_store.domain_event against appends until the transaction ends, after waiting for those in flight.
-- Errors: UE007 if reason is missing or began_after is negative.
-- Callers: administrators; restore.
create or replace function event_store.begin_epoch(
  reason text,
  began_after bigint default null,
  skip_positions boolean default true
)
returns uuid
language plpgsql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_epoch uuid;
begin
  if coalesce(reason, '') = '' then
    raise exception using
      errcode = 'UE007',
      message = 'the reason is missing',
      hint = 'Say why the log continues from an earlier state, such as promoted replica-2.';
  elsif began_after < 0 then
    raise exception using
      errcode = 'UE007',
      message = format('began_after is %s; it must not be negative', began_after),
      hint = 'Pass a position of the log, 0 for its start, or leave it out.';
  end if;
  lock table event_store.domain_event in share row exclusive mode;
  if skip_positions then
    perform event_store.skip_positions();
  end if;
  insert into event_store.log_epoch as epoch (
    epoch_number, began_after, reason, system_identifier, timeline, database_oid, data_directory
  )
  select
    (select coalesce(max(earlier.epoch_number), 0) + 1 from event_store.log_epoch as earlier),
    -- The position of an event, so that readers can continue from it.
    coalesce(
      (
        select event.global_position
        from event_store.domain_event as event
        where begin_epoch.began_after is null or event.global_position <= begin_epoch.began_after
        order by event.global_position desc
        limit 1
      ),
      0
    ),
    begin_epoch.reason,
    identity.system_identifier,
    identity.timeline,
    identity.database_oid,
    identity.data_directory
  from event_store.server_identity() as identity
  returning epoch.epoch_id into v_epoch;
  return v_epoch;
end
$$;

comment on function event_store.begin_epoch is
  'Begins a new epoch, so that checkpoints of readers that have seen events that are gone are refused';
