-- An index for conditions on what is in the events' data: event_data @> '{"customer":"…"}'.
--
-- Not everybody's: it doubles the WAL of an append (measured: 2.1 times), and projections answer such questions better.
-- jsonb_path_ops serves @> and @@ alone, which is what it is for, and costs less than the default (2.8 times).
-- It is built in one transaction, during which appends wait; apply it early.
create index domain_event_event_data_idx on event_store.domain_event using gin (event_data jsonb_path_ops);

comment on index event_store.domain_event_event_data_idx is 'Opt-in: conditions on the data of events';
