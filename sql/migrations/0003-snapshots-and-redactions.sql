-- Creates the snapshots of aggregates and the record of redactions.

-- One row per stream and state version: a snapshot only shortens loading, so an older one is of no use.
create table event_store.snapshot (
  stream_id uuid not null,
  taken_at timestamptz not null default current_timestamp,
  aggregate_version integer not null,
  state_version integer not null,
  state jsonb not null,
  constraint snapshot_pkey primary key (stream_id, state_version),
  constraint snapshot_aggregate_version_is_positive check (aggregate_version >= 1),
  constraint snapshot_state_version_is_positive check (state_version >= 1)
);

comment on table event_store.snapshot is
  'State of an aggregate at a version, so that loading it needs only the events after that version';
comment on column event_store.snapshot.stream_id is 'The stream whose events were folded into the state';
comment on column event_store.snapshot.taken_at is 'When the snapshot was saved';
comment on column event_store.snapshot.aggregate_version is 'Version of the last event included';
comment on column event_store.snapshot.state_version is
  'Version of the state''s format; code that folds events differently uses another one';
comment on column event_store.snapshot.state is 'The state';

-- Records that data was replaced, never the data itself. transaction_id permits the update of this event in this
-- transaction only (event_store.check_redaction).
create table event_store.redaction (
  redacted_at timestamptz not null default current_timestamp,
  transaction_id xid8 not null default pg_current_xact_id(),
  stream_id uuid not null,
  aggregate_version integer not null,
  redacted_by name not null default session_user,
  reason text not null,
  constraint redaction_pkey primary key (stream_id, aggregate_version, transaction_id),
  constraint redaction_reason_is_not_empty check (btrim(reason) <> '')
);

comment on table event_store.redaction is 'Which event''s data was replaced, by whom, when and why';
comment on column event_store.redaction.redacted_at is 'Start of the transaction that replaced the data';
comment on column event_store.redaction.transaction_id is 'The transaction that replaced the data';
comment on column event_store.redaction.stream_id is 'The stream of the event';
comment on column event_store.redaction.aggregate_version is 'The version of the event';
comment on column event_store.redaction.redacted_by is 'The login that replaced the data';
comment on column event_store.redaction.reason is 'Why the data was replaced';

grant select on table event_store.snapshot to :{app};
grant select on table event_store.redaction to :{app};
