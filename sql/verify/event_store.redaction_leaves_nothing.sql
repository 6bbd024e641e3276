-- Nothing holds data that a redaction erased: no snapshot from before it, no error of a dead letter, no statistics of a
-- column. A database without the column snapshot.redactions is not checked: the migration that adds it cleans up first.
select 'snapshot' as remains, s.stream_id, s.aggregate_version, s.state_version::text as detail
from event_store.snapshot as s
join event_store.redaction as r on r.stream_id = s.stream_id and r.aggregate_version <= s.aggregate_version
group by s.stream_id, s.state_version
having count(*) > (to_jsonb(s) ->> 'redactions')::bigint

union all

select 'error of a dead letter', d.stream_id, d.aggregate_version, d.name || ' ' || d.version
from read_model.dead_letter as d
join (select distinct stream_id, aggregate_version from event_store.redaction) as r using (stream_id, aggregate_version)
where d.error is not null
  and exists (
    select from pg_catalog.pg_attribute
    where attrelid = 'event_store.snapshot'::regclass and attname = 'redactions'
  )

union all

select case when known.attname is null then 'statistics target' else 'statistics' end, null, null, place.name
from (
  values
    ('event_store', 'domain_event', 'event_data'),
    ('event_store', 'domain_event', 'metadata'),
    ('event_store', 'snapshot', 'state'),
    ('read_model', 'dead_letter', 'error')
) as given (schema, relation, attribute)
cross join lateral (select concat_ws('.', schema, relation, attribute) as name) as place
join pg_catalog.pg_attribute as a on a.attrelid = concat_ws('.', schema, relation)::regclass and a.attname = attribute
left join pg_catalog.pg_stats as known
  on known.schemaname = schema and known.tablename = relation and known.attname = attribute
where (a.attstattarget is distinct from 0 or known.attname is not null)
  and exists (
    select from pg_catalog.pg_attribute
    where attrelid = 'event_store.snapshot'::regclass and attname = 'redactions'
  )
