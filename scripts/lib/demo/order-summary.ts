import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RecordedEvent } from "../event-store/event.ts";
import type { ProjectionDefinition } from "../event-store/projection/definition.ts";
import { assetsDir } from "../paths.ts";
import type { Sql } from "../postgres/driver.ts";
import type { OrderEvent } from "./events.ts";

/** The example projection: one row per order, and a materialised view with one row per day. Copy it for your own. */
export const orderSummary: ProjectionDefinition<OrderEvent> = {
  name: "order_summary",
  version: 2,
  events: ["OrderPlaced", "OrderPaid", "OrderShipped", "OrderCancelled"],
  relations: {
    names: ["order_summary", "order_day"],
    create: async (tx) => tx.unsafe(await readFile(join(assetsDir, "sql/demo/order_summary.sql"), "utf8")).simple(),
  },
  handle: summarize,
  refresh: (tx) => tx`refresh materialized view concurrently order_day`,
};

/** Runs one statement per batch: the changes to each order are summed up first. */
async function summarize(events: readonly RecordedEvent<OrderEvent>[], tx: Sql): Promise<void> {
  const changes = new Map<string, OrderChange>();
  for (const event of events) {
    const change = changes.get(event.aggregate.id) ?? newChange(event);
    applyEvent(change, event);
    changes.set(event.aggregate.id, change);
  }
  const rows = JSON.stringify([...changes.values()]);
  await tx`
    with change as (
      select *
      from jsonb_to_recordset(${rows}::text::jsonb) as change (
        order_id text, customer_id uuid, placed_at timestamptz, changed_at timestamptz, total_cents bigint,
        paid_cents bigint, version integer, status text
      )
    ),
    placed as (
      insert into order_summary
      select order_id, customer_id, placed_at, changed_at, total_cents, paid_cents, version, coalesce(status, 'placed')
      from change
      where customer_id is not null
    )
    update order_summary as summary
    set
      paid_cents = summary.paid_cents + change.paid_cents,
      status = coalesce(change.status, summary.status),
      changed_at = change.changed_at,
      version = change.version
    from change
    where change.customer_id is null and summary.order_id = change.order_id`;
}

interface OrderChange {
  readonly order_id: string;
  /** Set if the batch contains the order's placement, so that the row is new. */
  customer_id?: string;
  placed_at?: Date;
  total_cents?: number;
  changed_at: Date;
  paid_cents: number;
  version: number;
  status?: "paid" | "shipped" | "cancelled";
}

function newChange({ aggregate, occurredAt }: RecordedEvent<OrderEvent>): OrderChange {
  return { order_id: aggregate.id, changed_at: occurredAt, paid_cents: 0, version: 0 };
}

function applyEvent(change: OrderChange, event: RecordedEvent<OrderEvent>): void {
  change.changed_at = event.occurredAt;
  change.version = event.aggregateVersion;
  switch (event.type) {
    case "OrderPlaced":
      change.customer_id = event.data.customerId;
      change.placed_at = event.data.placedAt === undefined ? event.occurredAt : new Date(event.data.placedAt);
      change.total_cents = event.data.totalCents;
      return;
    case "OrderPaid":
      change.paid_cents += event.data.amountCents;
      change.status = "paid";
      return;
    case "OrderShipped":
      change.status = "shipped";
      return;
    case "OrderCancelled":
      change.status = "cancelled";
  }
}
