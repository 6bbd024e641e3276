-- Ensures that a redaction leaves nothing of the erased data: not in snapshots, dead letters or statistics.

alter table event_store.snapshot add column redactions bigint not null default 0;
comment on column event_store.snapshot.redactions is
  'Number of redactions, of events up to aggregate_version, that the state reflects';

-- Whether these hold erased data is unknown. Snapshots only shorten loading, so deleting them loses nothing.
delete from event_store.snapshot as s
where exists (
  select from event_store.redaction as r
  where r.stream_id = s.stream_id and r.aggregate_version <= s.aggregate_version
);

update read_model.dead_letter as d
set error = null
where error is not null
  and exists (
    select from event_store.redaction as r
    where r.stream_id = d.stream_id and r.aggregate_version <= d.aggregate_version
  );
comment on column read_model.dead_letter.error is
  'Error of the last attempt; null if the event waits for an earlier one, or was redacted';
