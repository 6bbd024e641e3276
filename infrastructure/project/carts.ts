// A read model: one row per cart. To keep it up to date: cqrs-postgres projections run --module ./cqrs/carts.ts
import type { ProjectionDefinition } from "cqrs-postgres";
import type { CartEvent } from "./cart.ts";

export const carts: ProjectionDefinition<CartEvent> = {
  name: "carts",
  version: 1,
  events: ["ItemAdded", "CartCheckedOut"],
  relations: {
    names: ["cart"],
    create: (tx) => tx`
      create table cart (id text primary key, items integer not null, is_checked_out boolean not null default false)`,
  },
  async handle(events, tx) {
    for (const { type, data, aggregate } of events) {
      if (type === "ItemAdded") {
        await tx`
          insert into cart (id, items) values (${aggregate.id}, ${data.quantity})
          on conflict (id) do update set items = cart.items + excluded.items`;
      } else {
        await tx`update cart set is_checked_out = true where id = ${aggregate.id}`;
      }
    }
  },
};
