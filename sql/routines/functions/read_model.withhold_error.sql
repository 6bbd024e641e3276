-- Erases the error of a dead letter if its event was redacted: the projection may have read the event before.
--
-- If a redaction is in progress, the error is erased even if the redaction is of another event: waiting for it would
-- stop the projection.
-- Security definer, because the application may not call event_store.hold_off_redaction.
-- Callers: the trigger dead_letter_quotes_no_erased_data.
create or replace function read_model.withhold_error()
returns trigger
language plpgsql
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
  if not event_store.hold_off_redaction(new.stream_id) then
    new.error := null;
  elsif exists (
    select from event_store.redaction
    where stream_id = new.stream_id and aggregate_version = new.aggregate_version
  ) then
    new.error := null;
  end if;
  return new;
end
$$;

comment on function read_model.withhold_error is 'Erases the error of a dead letter if its event was redacted';
