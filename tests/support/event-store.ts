import { randomUUID } from "node:crypto";
import type { Aggregate, DomainEvent } from "../../scripts/lib/event-store/event.ts";
import { type EventStore, type EventStoreOptions, openEventStore } from "../../scripts/lib/event-store/store.ts";
import type { TestDatabase } from "./database.ts";

/** The events of the orders in tests. */
export type OrderEvent =
  | DomainEvent<"OrderPlaced", { readonly total: number }>
  | DomainEvent<"OrderPaid", { readonly amount: number }>
  | DomainEvent<"OrderShipped", Record<string, never>>;

/** An ordinary event. */
export const orderPlaced: OrderEvent = { type: "OrderPlaced", data: { total: 42 } };

/** Opens the event store of a test's database, as the application. */
export function openTestStore(database: TestDatabase, options: Partial<EventStoreOptions> = {}): EventStore {
  return openEventStore({ ...database.application, ...options });
}

/** @returns an order that has no events yet */
export function newOrder(): Aggregate {
  return { type: "Order", id: randomUUID() };
}
