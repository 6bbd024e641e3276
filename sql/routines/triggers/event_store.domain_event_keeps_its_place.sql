-- Limits a redaction to the event that it names, and to that event's data and metadata.
create or replace trigger domain_event_keeps_its_place
before update on event_store.domain_event
for each row
execute function event_store.check_redaction();

alter table event_store.domain_event enable always trigger domain_event_keeps_its_place;

comment on trigger domain_event_keeps_its_place on event_store.domain_event is
  'Refuses to update anything but the data and metadata of the event that is redacted';
