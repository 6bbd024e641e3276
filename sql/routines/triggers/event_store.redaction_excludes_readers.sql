-- Prevents a redaction and a transaction that stores what it has read from the stream from overlooking each other.
create or replace trigger redaction_excludes_readers
before insert on event_store.redaction
for each row
execute function event_store.begin_redaction();

alter table event_store.redaction enable always trigger redaction_excludes_readers;

comment on trigger redaction_excludes_readers on event_store.redaction is
  'Waits for transactions that store what they have read from the stream';
