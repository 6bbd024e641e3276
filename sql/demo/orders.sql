-- Appends demo data to the event store: 60 orders of 12 customers. The orders are named by text, order-1 to order-60.
--
-- Idempotent: all ids are derived from numbers, so a second run finds the events stored and changes nothing.
-- Returns one row per order, as event_store.append_batch does.
-- Callers: `seed` (scripts/lib/demo/seed.ts).
with demo_order as (
  select number, format('order-%s', number) as order_key
  from generate_series(1, 60) as number
),
event as (
  select
    number,
    order_key,
    place,
    jsonb_build_object(
      'event_id', md5(format('demo %s event %s', order_key, place))::uuid,
      'event_type', event_type,
      'event_version', 1,
      'event_data', event_data,
      'metadata', '{"source": "seed"}'::jsonb,
      'correlation_id', format('checkout-%s', number)
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
        'aggregate_type', 'Order', 'aggregate_key', order_key, 'expected_version', 0, 'events', events
      )
      order by number
    )
    from (
      select number, order_key, jsonb_agg(event order by place) as events from event group by number, order_key
    ) as stream
  )
);
