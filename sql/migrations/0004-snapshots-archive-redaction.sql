-- Snapshots, the archive mark of a stream, and the record of what was redacted.

-- A routine of an earlier version, where that was applied; its successor takes events as one jsonb array.
do $$
begin
  if to_regprocedure('event_store.append_problem(varchar, uuid, integer, jsonb[])') is not null then
    drop function event_store.append_problem(varchar, uuid, integer, jsonb[]);
  end if;
end
$$;

alter table event_store.event_stream add column archived_at timestamptz;

comment on column event_store.event_stream.archived_at is 'When the stream was closed to new events; null while it is open';

-- One a stream and form of state: a snapshot only saves reading, so an older one is of no use.
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

comment on table event_store.snapshot is 'State of an aggregate at a version, so that loading needs only the events after it';
comment on column event_store.snapshot.stream_id is 'The stream it was folded from';
comment on column event_store.snapshot.taken_at is 'When it was saved';
comment on column event_store.snapshot.aggregate_version is 'Version of the last event it includes';
comment on column event_store.snapshot.state_version is 'Version of the state''s form; code that folds otherwise has another';
comment on column event_store.snapshot.state is 'The state';

-- What was taken out of events, never what it was. transaction_id opens the trigger for this one event and transaction.
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

comment on table event_store.redaction is 'Who replaced the data of which event, when and why';
comment on column event_store.redaction.redacted_at is 'When the transaction began that replaced the data';
comment on column event_store.redaction.transaction_id is 'The transaction that replaced the data';
comment on column event_store.redaction.stream_id is 'The stream of the event';
comment on column event_store.redaction.aggregate_version is 'The version of the event';
comment on column event_store.redaction.redacted_by is 'The login that did it';
comment on column event_store.redaction.reason is 'Why, in words';

grant select on table event_store.snapshot to :{app};
grant select on table event_store.redaction to :{app};

create type event_store.append_result as (
  stream_id uuid,
  first_version integer,
  last_version integer,
  last_position bigint,
  deduplicated boolean,
  sqlstate text,
  detail text,
  message text
);

comment on type event_store.append_result is 'What became of one append of several: where its events are, or why not';
