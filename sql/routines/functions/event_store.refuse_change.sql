-- Prevents everyone, including the owner, from changing or deleting events and records of redactions.
--
-- Errors: UE006.
-- Callers: the triggers domain_event_is_immutable and redaction_is_immutable.
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
    hint = 'Append an event that corrects the earlier one; to erase data, see event_store.redact_event.';
end
$$;

comment on function event_store.refuse_change is 'Refuses to change or remove events and redactions';
