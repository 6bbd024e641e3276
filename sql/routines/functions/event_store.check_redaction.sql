-- Permits an update of an event only if event_store.redaction has a row for it from this very transaction, and only of
-- its data and metadata. A setting would not do: anyone could set it, and it would leave no evidence.
--
-- Errors: UE006.
-- Callers: the triggers domain_event_is_redacted_openly (per statement: without a row of this transaction, no update)
-- and domain_event_keeps_its_place (per row).
create or replace function event_store.check_redaction()
returns trigger
language plpgsql
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_open boolean;
begin
  if tg_level = 'STATEMENT' then
    v_is_open := exists (select from event_store.redaction where transaction_id = pg_current_xact_id_if_assigned());
  else
    v_is_open := exists (
      select from event_store.redaction
      where stream_id = old.stream_id
        and aggregate_version = old.aggregate_version
        and transaction_id = pg_current_xact_id()
    )
    and (to_jsonb(new) - '{event_data,metadata}'::text[]) = (to_jsonb(old) - '{event_data,metadata}'::text[]);
  end if;
  if not v_is_open then
    raise exception using
      errcode = 'UE006',
      message = format('events are immutable: %s of %I.%I is refused', lower(tg_op), tg_table_schema, tg_table_name),
      detail = json_build_object('operation', lower(tg_op), 'schema', tg_table_schema, 'table', tg_table_name)::text,
      hint = 'Append an event that corrects the earlier one; to erase data, see event_store.redact_event.';
  end if;
  return new;
end
$$;

comment on function event_store.check_redaction is
  'Refuses to update an event, except for a recorded redaction of its data';
