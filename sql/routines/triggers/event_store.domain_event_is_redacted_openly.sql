-- Prevents everyone, including the owner, from updating events, in every session_replication_role, unless the
-- transaction has recorded a redaction.
--
-- A statement trigger, like domain_event_is_immutable: it fires even if the statement matches no row.
create or replace trigger domain_event_is_redacted_openly
before update on event_store.domain_event
for each statement
execute function event_store.check_redaction();

alter table event_store.domain_event enable always trigger domain_event_is_redacted_openly;

comment on trigger domain_event_is_redacted_openly on event_store.domain_event is
  'Refuses update in a transaction that has not recorded a redaction';
