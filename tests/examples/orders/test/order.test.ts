import { test } from "node:test";
import { scenario } from "cqrs-postgres/testing";
import { cancel, type OrderEvent, OrderRefused, order, pay, place } from "../src/order.ts";
import { orderList } from "../src/order-list.ts";

const placed: OrderEvent = { type: "OrderPlaced", data: { customer: "ada", totalCents: 500 } };
const halfPaid: OrderEvent = { type: "OrderPaid", data: { amountCents: 250 } };
const cancelled: OrderEvent = { type: "OrderCancelled", data: { reason: "too late" } };

test("an order is placed once", () => {
  scenario(order).when(place("ada", 500)).thenEvents(placed).thenState({ status: "open", openCents: 500 });
  scenario(order).given(placed).when(place("ada", 500)).thenRefused(OrderRefused);
});

test("payments add up to the total, and not to more", () => {
  scenario(order)
    .given(placed, halfPaid)
    .when(pay(250))
    .thenEvents(halfPaid)
    .thenState({ status: "paid", openCents: 0 });
  scenario(order)
    .given(placed, halfPaid)
    .when(pay(251))
    .thenRefused(/only 250 cents/);
  scenario(order).given(placed, halfPaid, halfPaid).when(pay(1)).thenRefused(OrderRefused);
});

test("an open order can be cancelled, twice without effect", () => {
  scenario(order).given(placed).when(cancel("too late")).thenEvents(cancelled);
  scenario(order).given(placed, cancelled).when(cancel("again")).thenEvents();
  scenario(order).given(placed, halfPaid, halfPaid).when(cancel("again")).thenRefused(OrderRefused);
});

test("the list shows what was paid, and what was cancelled", async () => {
  await scenario(orderList)
    .given({ type: "Order", id: "order-1" }, placed, halfPaid)
    .given({ type: "Order", id: "order-2" }, placed, cancelled)
    .thenRows("select id, paid_cents, is_cancelled from order_list order by id", [
      { id: "order-1", paid_cents: 250, is_cancelled: false },
      { id: "order-2", paid_cents: 0, is_cancelled: true },
    ]);
});
