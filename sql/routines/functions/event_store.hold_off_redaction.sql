-- Lets no redaction of a stream begin until this transaction ends, so that the caller can check that no redaction came
-- between reading the stream and storing something derived from it. Check in a later statement.
--
-- Returns false if a redaction is in progress, or if the isolation level is stricter than READ COMMITTED, in which the
-- caller would not see a redaction that was committed after its transaction began. Never waits.
-- Locks: a shared advisory lock, until the transaction ends. Appends do not take it.
-- Volatile. Granted to nobody.
-- Callers: event_store.save_snapshot, read_model.withhold_error.
create or replace function event_store.hold_off_redaction(p_stream_id uuid)
returns boolean
language plpgsql
volatile
parallel unsafe
as $$
begin
  return current_setting('transaction_isolation') = 'read committed'
    and pg_try_advisory_xact_lock_shared(event_store.redaction_lock_key(p_stream_id));
end
$$;

comment on function event_store.hold_off_redaction is
  'Lets no redaction of a stream begin until this transaction ends; false if one is in progress';
