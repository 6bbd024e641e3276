-- Holds a redaction to the one event it names, and to its data and metadata.
create or replace trigger domain_event_keeps_its_place
before update on event_store.domain_event
for each row
execute function event_store.check_redaction();

alter table event_store.domain_event enable always trigger domain_event_keeps_its_place;

comment on trigger domain_event_keeps_its_place on event_store.domain_event is
  'Refuses to update more of an event than the data of the one that is redacted';
