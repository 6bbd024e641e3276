-- No projection has read past what was ever drawn: it would skip the events that come next. A checkpoint may lie past
-- the last event, as a transaction that was rolled back draws positions too.
select p.name, p.version, p.partition, p.checkpoint, s.last_value
from read_model.projection as p, event_store.domain_event_global_position as s
where p.checkpoint > case when s.is_called then s.last_value else s.last_value - 1 end
