-- Refuses to change or remove a row of the log, or of the record of redactions, whoever asks.
--
-- Raises UE006. Called by the triggers domain_event_is_immutable and redaction_is_immutable.
create or replace function event_store.refuse_change()
returns trigger
language plpgsql
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using
    errcode = 'UE006',
    message = format('events are immutable: %s of %I.%I is refused', lower(tg_op), tg_table_schema, tg_table_name),
    detail = json_build_object('operation', lower(tg_op), 'schema', tg_table_schema, 'table', tg_table_name)::text,
    hint = 'Append an event that corrects the earlier one; where the law wants data erased, see event_store.redact_event.';
end
$$;

comment on function event_store.refuse_change is 'Refuses to change or remove an event';
