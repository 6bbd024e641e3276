-- Prevents everyone, including the owner, from changing or deleting records of redactions, in every
-- session_replication_role.
create or replace trigger redaction_is_immutable
before update or delete or truncate on event_store.redaction
for each statement
execute function event_store.refuse_change();

alter table event_store.redaction enable always trigger redaction_is_immutable;

comment on trigger redaction_is_immutable on event_store.redaction is 'Refuses update, delete and truncate';
