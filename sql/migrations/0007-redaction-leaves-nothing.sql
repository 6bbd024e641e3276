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

-- pg_stats shows values of a column to everyone who may read the table. No plan depends on the values of these columns.
alter table event_store.domain_event
  alter column event_data set statistics 0,
  alter column metadata set statistics 0;
alter table event_store.snapshot alter column state set statistics 0;
alter table read_model.dead_letter alter column error set statistics 0;

-- ANALYZE now skips these columns, so statistics from before would stay for good. Only a superuser may delete them, but
-- changing the type of a column to the same type removes them too, without rewriting the table. PostgreSQL refuses that
-- while a function with a parsed body reads the column, so such a function has another body meanwhile.
set local check_function_bodies = off;
do $$
declare
  v_columns text[];
  v_definitions text[];
  v_placeholders text[];
  v_statement text;
begin
  select array_agg(format(
    'alter table %I.%I alter column %I type %s',
    schemaname, tablename, attname, case attname when 'error' then 'text' else 'jsonb' end
  ))
  into v_columns
  from pg_catalog.pg_stats
  where (schemaname, tablename, attname) in (
    ('event_store', 'domain_event', 'event_data'),
    ('event_store', 'domain_event', 'metadata'),
    ('event_store', 'snapshot', 'state'),
    ('read_model', 'dead_letter', 'error')
  );

  select
    array_agg(pg_get_functiondef(oid)),
    array_agg(format(
      'create or replace function %s(%s) returns %s language sql as %L',
      oid::regproc, pg_get_function_arguments(oid), pg_get_function_result(oid), ''
    ))
  into v_definitions, v_placeholders
  from pg_catalog.pg_proc
  where prokind = 'f'
    and oid in (
      select objid from pg_catalog.pg_depend
      where classid = 'pg_catalog.pg_proc'::regclass
        and refobjid in (
          'event_store.domain_event'::regclass, 'event_store.snapshot'::regclass, 'read_model.dead_letter'::regclass
        )
    );

  if v_columns is not null then
    foreach v_statement in array v_placeholders || v_columns || v_definitions loop
      execute v_statement;
    end loop;
  end if;
exception when feature_not_supported or insufficient_privilege then
  raise warning using
    message = format('statistics of events remain, which may hold erased data: %s', sqlerrm),
    hint = 'sql/verify/event_store.redaction_leaves_nothing.sql finds them. A superuser deletes them: sql/README.md.';
end
$$;
