// The write side: what can happen to an order, and which commands it accepts.
import type { AggregateDefinition, DomainEvent } from "cqrs-postgres";

export type OrderEvent =
  | DomainEvent<"OrderPlaced", { readonly customer: string; readonly totalCents: number }>
  | DomainEvent<"OrderPaid", { readonly amountCents: number }>
  | DomainEvent<"OrderCancelled", { readonly reason: string }>;

export interface Order {
  readonly status: "none" | "open" | "paid" | "cancelled";
  readonly openCents: number;
}

export const order: AggregateDefinition<Order, OrderEvent> = {
  type: "Order",
  initialState: () => ({ status: "none", openCents: 0 }),
  evolve(state, { type, data }) {
    if (type === "OrderPlaced") return { status: "open", openCents: data.totalCents };
    if (type === "OrderCancelled") return { ...state, status: "cancelled" };
    const openCents = state.openCents - data.amountCents;
    return { status: openCents === 0 ? "paid" : "open", openCents };
  },
};

/** A command that the order's state does not allow. */
export class OrderRefused extends Error {}

type Command = (state: Order) => OrderEvent[];

export function place(customer: string, totalCents: number): Command {
  return ({ status }) => {
    if (status !== "none") throw new OrderRefused("the order exists already");
    return [{ type: "OrderPlaced", data: { customer, totalCents } }];
  };
}

export function pay(amountCents: number): Command {
  return ({ status, openCents }) => {
    if (status !== "open") throw new OrderRefused(`an order that is ${status} takes no payment`);
    if (amountCents > openCents) throw new OrderRefused(`only ${openCents} cents are open`);
    return [{ type: "OrderPaid", data: { amountCents } }];
  };
}

/** Cancelling twice has no effect. */
export function cancel(reason: string): Command {
  return ({ status }) => {
    if (status === "cancelled") return [];
    if (status !== "open") throw new OrderRefused(`an order that is ${status} cannot be cancelled`);
    return [{ type: "OrderCancelled", data: { reason } }];
  };
}
