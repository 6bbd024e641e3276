-- Prevents everyone, including the owner, from deleting events, in every session_replication_role.
--
-- A statement trigger: it fires even if the statement matches no row, and costs appends nothing.
create or replace trigger domain_event_is_immutable
before delete or truncate on event_store.domain_event
for each statement
execute function event_store.refuse_change();

alter table event_store.domain_event enable always trigger domain_event_is_immutable;

comment on trigger domain_event_is_immutable on event_store.domain_event is 'Refuses delete and truncate';
