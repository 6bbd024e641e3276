-- Returns the last position drawn from the sequence, by a transaction of any state; 0 if there is none.
--
-- No event has a higher position, so a checkpoint beyond it was made in a log that has been rewound since.
-- Volatile. Security definer, because the application may not read the sequence.
-- Callers: applications; event_store.read_all, event_store.check_checkpoint, read_model.projection_lag.
create or replace function event_store.last_drawn_position()
returns bigint
language sql
volatile
security definer
parallel unsafe
set search_path = pg_catalog, pg_temp
begin atomic
  select case when is_called then last_value else last_value - 1 end
  from event_store.domain_event_global_position;
end;

comment on function event_store.last_drawn_position is 'Last position that was drawn; no event has a higher one';

grant execute on function event_store.last_drawn_position to :{app};
