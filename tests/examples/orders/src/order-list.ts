// The read side: one row per order.
import type { ProjectionDefinition } from "cqrs-postgres";
import type { OrderEvent } from "./order.ts";

export const orderList: ProjectionDefinition<OrderEvent> = {
  name: "order_list",
  version: 1,
  events: ["OrderPlaced", "OrderPaid", "OrderCancelled"],
  relations: {
    names: ["order_list"],
    create: (tx) => tx`
      create table order_list (
        id text primary key,
        customer text not null,
        total_cents integer not null,
        paid_cents integer not null default 0,
        is_cancelled boolean not null default false
      )`,
  },
  async handle(events, tx) {
    for (const { type, data, aggregate } of events) {
      if (type === "OrderPlaced") {
        const row = { id: aggregate.id, customer: data.customer, total_cents: data.totalCents };
        await tx`insert into order_list ${tx(row)}`;
      } else if (type === "OrderPaid") {
        await tx`update order_list set paid_cents = paid_cents + ${data.amountCents} where id = ${aggregate.id}`;
      } else {
        await tx`update order_list set is_cancelled = true where id = ${aggregate.id}`;
      }
    }
  },
};
