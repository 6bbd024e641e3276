-- Creates the read model of the example projection: orders for a list, and a summary per day.
--
-- Callers: the projection, when a version of it starts (scripts/lib/demo/order-summary.ts). It sets the search path to
-- the schema it fills, so nothing here names a schema.

create table order_summary (
  order_id text not null,
  customer_id uuid not null,
  placed_at timestamptz not null,
  changed_at timestamptz not null,
  total_cents bigint not null,
  paid_cents bigint not null default 0,
  version integer not null,
  status text not null,
  constraint order_summary_pkey primary key (order_id),
  constraint order_summary_status_is_known check (status in ('placed', 'paid', 'shipped', 'cancelled'))
);

comment on table order_summary is 'One row per order, filled by the projection order_summary';
comment on column order_summary.order_id is 'ID of the order';
comment on column order_summary.customer_id is 'ID of the customer who placed the order';
comment on column order_summary.placed_at is 'When the order was placed';
comment on column order_summary.changed_at is 'When the last event of the order was appended';
comment on column order_summary.total_cents is 'Price of the order, in cents';
comment on column order_summary.paid_cents is 'Amount paid, in cents';
comment on column order_summary.version is 'Version of the order after the last event included';
comment on column order_summary.status is 'placed, paid, shipped or cancelled';

create index order_summary_customer_id_placed_at_idx on order_summary (customer_id, placed_at);

create materialized view order_day as
select
  (placed_at at time zone 'UTC')::date as day,
  count(*) as order_count,
  count(*) filter (where status = 'cancelled') as cancelled_count,
  sum(total_cents)::bigint as total_cents,
  sum(paid_cents)::bigint as paid_cents
from order_summary
group by day;

comment on materialized view order_day is 'Orders per day; refreshed when the projection has caught up';
comment on column order_day.day is 'Day (UTC) on which the orders were placed';
comment on column order_day.order_count is 'Number of orders placed';
comment on column order_day.cancelled_count is 'Number of these orders that were cancelled';
comment on column order_day.total_cents is 'Price of these orders, in cents';
comment on column order_day.paid_cents is 'Amount paid for these orders, in cents';

-- refresh materialized view concurrently requires a unique index.
create unique index order_day_key on order_day (day);
