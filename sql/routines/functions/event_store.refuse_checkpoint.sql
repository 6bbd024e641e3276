-- Raises UE008: the log was rewound behind the reader that has this checkpoint.
--
-- The detail is JSON: checkpoint and checkpoint_epoch are what the reader passed; epoch is the current epoch;
-- branch_position is the position up to which the reader's log is the same as this one, null if that is unknown;
-- branch_event is the id of the event there.
-- problem: what is wrong, as the end of a sentence.
-- Errors: those of event_store.safe_position instead, if the log cannot be read here: the snapshot of a stricter
-- isolation level may be older than the checkpoint, and a standby may lag behind it.
-- Callers: event_store.check_checkpoint.
create or replace function event_store.refuse_checkpoint(
  p_position bigint,
  p_epoch_id uuid,
  p_branch_position bigint,
  p_problem text
)
returns void
language plpgsql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
  perform event_store.safe_position();
  raise exception using
    errcode = 'UE008',
    message = format('the log was rewound: the checkpoint at position %s %s', p_position, p_problem),
    detail = json_build_object(
      'checkpoint', p_position,
      'checkpoint_epoch', p_epoch_id,
      'epoch', (select epoch_id from event_store.log_epoch order by epoch_number desc limit 1),
      'branch_position', p_branch_position,
      'branch_event', (
        select event_id
        from event_store.domain_event
        where global_position = p_branch_position
      )
    )::text,
    hint = case
      when p_branch_position is null
        then 'Discard what the reader has derived from the log, and read it from the beginning.'
      else format(
        'Discard what the reader has derived from events after position %s, and continue from there.',
        p_branch_position
      )
    end;
end
$$;

comment on function event_store.refuse_checkpoint is
  'Raises UE008 with the epoch, the branch position and the checkpoint';
