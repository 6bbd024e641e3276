-- Prevents everyone, including the owner, from changing or deleting epochs, in every session_replication_role.
create or replace trigger log_epoch_is_immutable
before update or delete or truncate on event_store.log_epoch
for each statement
execute function event_store.refuse_change();

alter table event_store.log_epoch enable always trigger log_epoch_is_immutable;

comment on trigger log_epoch_is_immutable on event_store.log_epoch is 'Refuses update, delete and truncate';
