// A shopping cart: what can happen to it, and what may be done with it.
import type { AggregateDefinition, DomainEvent } from "cqrs-postgres";

export type CartEvent =
  | DomainEvent<"ItemAdded", { readonly sku: string; readonly quantity: number }>
  | DomainEvent<"CartCheckedOut", { readonly items: number }>;

export interface Cart {
  readonly items: number;
  readonly isCheckedOut: boolean;
}

export const cart: AggregateDefinition<Cart, CartEvent> = {
  type: "Cart",
  initialState: () => ({ items: 0, isCheckedOut: false }),
  evolve: (state, { type, data }) =>
    type === "ItemAdded" ? { ...state, items: state.items + data.quantity } : { ...state, isCheckedOut: true },
};

export class CartRefused extends Error {}

export function addItem(sku: string, quantity: number): (state: Cart) => CartEvent[] {
  return ({ isCheckedOut }) => {
    if (isCheckedOut) throw new CartRefused("the cart is checked out");
    return [{ type: "ItemAdded", data: { sku, quantity } }];
  };
}

export function checkOut({ items, isCheckedOut }: Cart): CartEvent[] {
  if (items === 0) throw new CartRefused("the cart is empty");
  return isCheckedOut ? [] : [{ type: "CartCheckedOut", data: { items } }];
}
