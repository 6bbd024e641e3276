-- Returns the key of the advisory lock between redactions of a stream and transactions that store what they have read
-- from it (event_store.hold_off_redaction).
--
-- The tag 0xE6 in the upper 16 bits keeps the key apart from other advisory locks. Streams share 1,024 keys, so that
-- even a transaction that redacts all streams needs no more entries of the lock table.
-- Immutable. Granted to nobody.
-- Callers: event_store.hold_off_redaction, event_store.begin_redaction.
create or replace function event_store.redaction_lock_key(p_stream_id uuid)
returns bigint
language sql
immutable
parallel safe
as $$
  select 230::bigint << 48 | (pg_catalog.uuid_hash_extended(p_stream_id, 0) & 1023)
$$;

comment on function event_store.redaction_lock_key is
  'Key of the advisory lock between redactions of a stream and those who store what they have read from it';
