-- Keeps a projection that has read an event before its redaction from storing an error that quotes the erased data.
create or replace trigger dead_letter_quotes_no_erased_data
before insert or update on read_model.dead_letter
for each row
when (new.error is not null)
execute function read_model.withhold_error();

alter table read_model.dead_letter enable always trigger dead_letter_quotes_no_erased_data;

comment on trigger dead_letter_quotes_no_erased_data on read_model.dead_letter is
  'Erases the error if the event was redacted';
