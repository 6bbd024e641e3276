-- Erases the error of the dead letters, of all projections, that a redaction may concern: an error often quotes the
-- data that a handler failed on. Includes later events of the stream, because a handler works on what earlier ones
-- left.
--
-- Security definer, because the role that redacts need not have access to read_model.
-- Callers: the trigger redaction_erases_errors.
create or replace function read_model.forget_errors()
returns trigger
language plpgsql
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
  update read_model.dead_letter
  set error = null
  where stream_id = new.stream_id and aggregate_version >= new.aggregate_version and error is not null;
  return null;
end
$$;

comment on function read_model.forget_errors is 'Erases the errors of dead letters that a redaction concerns';
