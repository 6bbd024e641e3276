-- Keeps events as they are, for the owner too and in every session_replication_role, unless the transaction has recorded
-- a redaction. Like domain_event_is_immutable it fires even for a statement that finds no row.
create or replace trigger domain_event_is_redacted_openly
before update on event_store.domain_event
for each statement
execute function event_store.check_redaction();

alter table event_store.domain_event enable always trigger domain_event_is_redacted_openly;

comment on trigger domain_event_is_redacted_openly on event_store.domain_event is
  'Refuses update in a transaction that has recorded no redaction';
