-- Appends demo data to the event store: 60 orders of 12 customers.
--
-- Idempotent: all ids are derived from numbers, so a second run finds the events stored and changes nothing.
-- Returns one row per order, as event_store.append_batch does.
-- Callers: `seed` (scripts/lib/demo/seed.ts).
with demo_order as (
  select number, md5(format('demo order %s', number))::uuid as order_id
  from generate_series(1, 60) as number
),
event as (
  select
    number,
    order_id,
    place,
    jsonb_build_object(
      'event_id', md5(format('demo order %s event %s', number, place))::uuid,
      'event_type', event_type,
      'event_version', 1,
      'event_data', event_data,
      'metadata', '{"source": "seed"}'::jsonb,
      'correlation_id', md5(format('demo order %s', number))::uuid
    ) as event
  from demo_order
  cross join lateral (
    values
      (
        1, true, 'OrderPlaced',
        jsonb_build_object(
          'customerId', md5(format('demo customer %s', number % 12))::uuid,
          'totalCents', 1990 + number * 730 % 20000
        )
      ),
      (2, number % 4 <> 0, 'OrderPaid', jsonb_build_object('amountCents', 1990 + number * 730 % 20000)),
      (3, number % 4 in (1, 2), 'OrderShipped', jsonb_build_object('carrier', 'DHL')),
      (4, number % 8 = 0, 'OrderCancelled', jsonb_build_object('reason', 'changed my mind'))
  ) as step (place, is_taken, event_type, event_data)
  where is_taken
)
select *
from event_store.append_batch(
  (
    select jsonb_agg(
      jsonb_build_object(
        'aggregate_type', 'Order', 'aggregate_id', order_id, 'expected_version', 0, 'events', events
      )
      order by number
    )
    from (
      select number, order_id, jsonb_agg(event order by place) as events from event group by number, order_id
    ) as stream
  )
);
