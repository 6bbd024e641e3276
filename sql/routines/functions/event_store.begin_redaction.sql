-- Waits for transactions that store what they have read from the stream of a redaction, and keeps new ones out until
-- the redaction is committed. What it does afterwards, such as deleting snapshots, finds what they have stored.
--
-- Errors: 25001 if the isolation level is not READ COMMITTED, in which it would not find that.
-- Callers: the trigger redaction_excludes_readers.
create or replace function event_store.begin_redaction()
returns trigger
language plpgsql
parallel unsafe
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using
      errcode = 'active_sql_transaction',
      message = format('an event cannot be redacted in a %s transaction', current_setting('transaction_isolation')),
      detail = 'A snapshot that was saved after the transaction began would keep the erased data.',
      hint = 'Redact in a READ COMMITTED transaction, or outside a transaction.';
  end if;
  perform pg_advisory_xact_lock(event_store.redaction_lock_key(new.stream_id));
  return new;
end
$$;

comment on function event_store.begin_redaction is
  'Waits for transactions that store what they have read from the stream of a redaction';
