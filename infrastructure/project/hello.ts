// Adds an item to a cart, and reads the carts. Start the database first: npm run db:start
import { decide, project } from "cqrs-postgres";
import { connect } from "cqrs-postgres/stack";
import { addItem, cart } from "./cart.ts";
import { carts } from "./carts.ts";

const store = await connect();
try {
  await decide(store, cart, "cart-1", addItem("book", 1));
  await project(store, { ...carts, stopWhenCaughtUp: true });
  for (const { id, items } of await store.sql`select id, items from cart`) console.log(`${id}: ${items} items`);
} finally {
  await store[Symbol.asyncDispose]();
}
