-- Refuses to change or remove an event, whoever asks.
--
-- Raises UE006. Called by the trigger domain_event_is_immutable.
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
    hint = 'Append an event that corrects the earlier one.';
end
$$;

comment on function event_store.refuse_change is 'Refuses to change or remove an event';
