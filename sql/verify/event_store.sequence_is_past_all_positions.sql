-- The next append draws a higher position than that of any event.
select e.last_position, s.last_value, s.is_called
from (select max(global_position) as last_position from event_store.domain_event) as e,
  event_store.domain_event_global_position as s
where e.last_position > case when s.is_called then s.last_value else s.last_value - 1 end
