-- Publishes the floor before a transaction draws its first position.
--
-- A statement trigger fires before any kind of insert evaluates its defaults, so no insert can bypass it.
create or replace trigger domain_event_publishes_floor
before insert on event_store.domain_event
for each statement
execute function event_store.publish_floor();

alter table event_store.domain_event enable always trigger domain_event_publishes_floor;

comment on trigger domain_event_publishes_floor on event_store.domain_event is
  'Publishes the position below which this transaction will draw none';
