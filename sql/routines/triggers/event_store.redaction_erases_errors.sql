-- Extends a redaction to read_model.dead_letter. A trigger, because event_store must not depend on read_model.
create or replace trigger redaction_erases_errors
after insert on event_store.redaction
for each row
execute function read_model.forget_errors();

alter table event_store.redaction enable always trigger redaction_erases_errors;

comment on trigger redaction_erases_errors on event_store.redaction is
  'Erases the errors of dead letters, which may quote the erased data';
