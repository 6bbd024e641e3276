-- The current epoch of the log began on this server, timeline and database. Otherwise the log may have been rewound by
-- a promotion, a recovery or a copy; run "select event_store.begin_epoch('<reason>')" before writers are let in.
select fact, recorded, actual
from event_store.epoch_mismatch()
