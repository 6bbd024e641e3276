-- The read model of the example projection: what a list of orders shows, and what a day brought.
--
-- Run by the projection itself when a version of it starts, in the schema it is to fill, so nothing here names a schema.

create table order_summary (
  order_id uuid not null,
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

comment on table order_summary is 'A row an order, as a list shows it; filled by the projection order_summary';
comment on column order_summary.order_id is 'ID of the order';
comment on column order_summary.customer_id is 'Who placed it';
comment on column order_summary.placed_at is 'When it was placed';
comment on column order_summary.changed_at is 'When its last event was stored';
comment on column order_summary.total_cents is 'What it costs, in cents';
comment on column order_summary.paid_cents is 'What was paid, in cents';
comment on column order_summary.version is 'Version of the order after the last event it includes';
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

comment on materialized view order_day is 'What a day brought; made anew when the projection has caught up';
comment on column order_day.day is 'Day in UTC';
comment on column order_day.order_count is 'How many orders were placed';
comment on column order_day.cancelled_count is 'How many of them were cancelled';
comment on column order_day.total_cents is 'What they cost, in cents';
comment on column order_day.paid_cents is 'What was paid for them, in cents';

-- Refreshing it beside its readers needs a unique index.
create unique index order_day_key on order_day (day);
