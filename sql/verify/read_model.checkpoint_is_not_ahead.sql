-- No checkpoint is ahead of the last position drawn: the projection would skip the next events. It may be ahead of the
-- last event, because transactions that were rolled back drew positions too.
select p.name, p.version, p.partition, p.checkpoint, s.last_value
from read_model.projection as p, event_store.domain_event_global_position as s
where p.checkpoint > case when s.is_called then s.last_value else s.last_value - 1 end
