-- Publishes the floor before the first position of a transaction is drawn.
--
-- A statement trigger fires before the defaults of any kind of insert are evaluated, so nothing gets past it.
create or replace trigger domain_event_publishes_floor
before insert on event_store.domain_event
for each statement
execute function event_store.publish_floor();

alter table event_store.domain_event enable always trigger domain_event_publishes_floor;

comment on trigger domain_event_publishes_floor on event_store.domain_event is
  'Tells readers below which position this transaction will draw none';
