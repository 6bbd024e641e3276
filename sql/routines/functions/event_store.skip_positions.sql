-- Leaves out 1,000,000 positions after the last one drawn, or after a later one that another continuation of the log is
-- known to have drawn. Readers of that continuation may have seen positions beyond it; the distance is there so that
-- none of them is drawn again here, behind their backs.
--
-- drawn_elsewhere: a position that the other continuation has drawn; null if none is known.
-- Not undone by a rollback. Returns the last position left out.
-- Callers: event_store.begin_epoch; restore.
create or replace function event_store.skip_positions(drawn_elsewhere bigint default null)
returns bigint
language sql
volatile
parallel unsafe
set search_path = pg_catalog, pg_temp
begin atomic
  select setval(
    'event_store.domain_event_global_position',
    greatest(event_store.last_drawn_position(), drawn_elsewhere) + 1000000
  );
end;

comment on function event_store.skip_positions is
  'Leaves out positions that another continuation of the log may have drawn';
