-- Prepares to read the log from a checkpoint: checks it, then asks how far the log is complete.
--
-- checkpoint, event_id, epoch_id: as for event_store.check_checkpoint. A null checkpoint is not checked: that of a
-- reader that stores it in this database, so that it is rewound together with the log.
-- Returns the safe position, the id of the event there, and the id of the current epoch: with them, the reader's next
-- checkpoint. The epoch is asked first, so that a page never claims to be of an epoch that began after it was read.
-- Errors: those of event_store.check_checkpoint and event_store.safe_position.
-- Volatile, for the reasons of event_store.safe_position. Pass the safe position to event_store.read_all.
-- Callers: applications.
create or replace function event_store.resume_log(
  checkpoint bigint,
  event_id uuid default null,
  epoch_id uuid default null,
  out safe_position bigint,
  out safe_event_id uuid,
  out current_epoch_id uuid
)
language plpgsql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  if checkpoint is null then
    safe_position := event_store.safe_position();
    return;
  end if;
  current_epoch_id := event_store.check_checkpoint(checkpoint, event_id, epoch_id);
  safe_position := event_store.safe_position();
  select event.event_id into safe_event_id
  from event_store.domain_event as event
  where event.global_position = safe_position;
end
$$;

comment on function event_store.resume_log is
  'Checks a checkpoint and returns how far the log is complete, with what the next checkpoint needs';

grant execute on function event_store.resume_log to :{app};
