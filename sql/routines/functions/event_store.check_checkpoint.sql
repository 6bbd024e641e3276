-- Checks that the log up to a checkpoint is the one that its reader has read. Returns the id of the current epoch.
--
-- checkpoint: the position up to which the reader has read; 0 is always accepted.
-- event_id: the event at that position; null if the reader does not know it.
-- epoch_id: the epoch in which the checkpoint was made; null if the reader does not know it.
-- Accepted are the epoch's checkpoints up to the position where the first later epoch began. A position alone counts as
-- a checkpoint of the first epoch. The event must still be there: if it is not, the server has lost commits
-- (synchronous_commit = off), or this is a copy of the server that the reader has read.
-- Call it before the statement that reads. Volatile, so that it sees what was committed in the meantime.
-- Errors: those of event_store.refuse_checkpoint.
-- Security definer, because the application may not call event_store.refuse_checkpoint.
-- Callers: applications; event_store.read_all, event_store.resume_log.
create or replace function event_store.check_checkpoint(
  checkpoint bigint,
  event_id uuid default null,
  epoch_id uuid default null
)
returns uuid
language plpgsql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  v_current uuid;
  v_number integer;
  v_branch bigint;
begin
  select epoch.epoch_id into v_current from event_store.log_epoch as epoch order by epoch.epoch_number desc limit 1;
  if coalesce(checkpoint, 0) <= 0 then
    return v_current;
  elsif epoch_id is distinct from v_current and (epoch_id is not null or event_id is null) then
    if epoch_id is not null then
      select epoch.epoch_number into v_number from event_store.log_epoch as epoch where epoch.epoch_id = epoch_id;
      if v_number is null then
        perform event_store.refuse_checkpoint(
          checkpoint, epoch_id, null, format('is of epoch %s, which is not in this log', epoch_id)
        );
      end if;
    end if;
    select min(epoch.began_after) into v_branch
    from event_store.log_epoch as epoch
    where epoch.epoch_number > coalesce(v_number, 1);
    if checkpoint > v_branch then
      perform event_store.refuse_checkpoint(
        checkpoint, epoch_id, v_branch, format('is beyond position %s, where a later epoch began', v_branch)
      );
    end if;
  end if;

  if checkpoint > event_store.last_drawn_position() then
    perform event_store.refuse_checkpoint(
      checkpoint,
      epoch_id,
      null,
      format('is beyond the last position drawn, %s', event_store.last_drawn_position())
    );
  elsif event_id is not null and not exists (
    select
    from event_store.domain_event as event
    where event.global_position = checkpoint and event.event_id = event_id
  ) then
    perform event_store.refuse_checkpoint(
      checkpoint, epoch_id, null, format('is of event %s, which is not there', event_id)
    );
  end if;
  return v_current;
end
$$;

comment on function event_store.check_checkpoint is
  'Refuses a checkpoint if the log was rewound since it was made; returns the current epoch';

grant execute on function event_store.check_checkpoint to :{app};
