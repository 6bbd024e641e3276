import assert from "node:assert/strict";
import { test } from "node:test";
import { decide, readStream } from "cqrs-postgres";
import { createTestStore, scenario } from "cqrs-postgres/testing";
import { addItem, type CartEvent, CartRefused, cart, checkOut } from "./cart.ts";
import { carts } from "./carts.ts";

const added: CartEvent = { type: "ItemAdded", data: { sku: "book", quantity: 2 } };
const checkedOut: CartEvent = { type: "CartCheckedOut", data: { items: 2 } };

test("a cart with items can be checked out once", () => {
  scenario(cart).given(added).when(checkOut).thenEvents(checkedOut);
  scenario(cart).given(added, checkedOut).when(checkOut).thenEvents();
});

test("an empty cart cannot be checked out, and nothing is added afterwards", () => {
  scenario(cart).when(checkOut).thenRefused(CartRefused);
  scenario(cart)
    .given(added, checkedOut)
    .when(addItem("pen", 1))
    .thenRefused(/checked out/);
});

test("decisions are stored", async () => {
  const store = await createTestStore();
  try {
    await decide(store, cart, "cart-1", addItem("book", 2));
    await decide(store, cart, "cart-1", checkOut);
    const types: string[] = [];
    for await (const { type } of readStream(store, { type: "Cart", id: "cart-1" })) types.push(type);
    assert.deepEqual(types, ["ItemAdded", "CartCheckedOut"]);
  } finally {
    await store[Symbol.asyncDispose]();
  }
});

test("carts are listed with their items", async () => {
  await scenario(carts)
    .given({ type: "Cart", id: "cart-1" }, added, added, checkedOut)
    .given({ type: "Cart", id: "cart-2" }, added)
    .thenRows("select id, items, is_checked_out from cart order by id", [
      { id: "cart-1", items: 4, is_checked_out: true },
      { id: "cart-2", items: 2, is_checked_out: false },
    ]);
});
