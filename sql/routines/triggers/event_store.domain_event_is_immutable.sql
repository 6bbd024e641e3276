-- Refuses to delete events, for the owner too and in every session_replication_role.
--
-- A statement trigger: it fires even if the statement finds no row, and adds no cost to appends.
create or replace trigger domain_event_is_immutable
before delete or truncate on event_store.domain_event
for each statement
execute function event_store.refuse_change();

alter table event_store.domain_event enable always trigger domain_event_is_immutable;

comment on trigger domain_event_is_immutable on event_store.domain_event is 'Refuses delete and truncate';
