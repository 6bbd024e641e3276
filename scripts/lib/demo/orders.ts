import type { DomainEvent } from "../event-store/event.ts";

/** What happens to an order of the demo data (sql/demo/orders.sql). */
export type OrderEvent =
  | DomainEvent<"OrderPlaced", { readonly customerId: string; readonly totalCents: number }>
  | DomainEvent<"OrderPaid", { readonly amountCents: number }>
  | DomainEvent<"OrderShipped", { readonly carrier: string }>
  | DomainEvent<"OrderCancelled", { readonly reason: string }>;
