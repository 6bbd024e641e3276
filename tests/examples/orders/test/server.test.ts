import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { project } from "cqrs-postgres";
import { createTestStore, type TestStore } from "cqrs-postgres/testing";
import { orderList } from "../src/order-list.ts";
import { createOrderServer } from "../src/server.ts";

let store: TestStore;
let server: ReturnType<typeof createOrderServer>;
let projecting: Promise<unknown>;
const stopping = new AbortController();

before(async () => {
  store = await createTestStore();
  projecting = project(store, { ...orderList, signal: stopping.signal });
  server = createOrderServer(store).listen(0, "127.0.0.1");
  await once(server, "listening");
});

after(async () => {
  stopping.abort();
  await projecting;
  server.close();
  server.closeAllConnections();
  await store[Symbol.asyncDispose]();
});

async function call(path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }> {
  const { port } = server.address() as AddressInfo;
  const request = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(`http://127.0.0.1:${port}${path}`, request);
  return { status: response.status, body: await response.json() };
}

test("a query after a command sees what the command stored", async () => {
  await call("/orders/a-1", { customer: "ada", totalCents: 500 });
  const paid = await call("/orders/a-1/payments", { amountCents: 500 });
  assert.equal(paid.body["status"], "paid");
  const { body } = await call(`/orders/a-1?after=${paid.body["checkpoint"]}`);
  assert.deepEqual(body, { id: "a-1", customer: "ada", total_cents: 500, paid_cents: 500, is_cancelled: false });
});

test("of two payments at the same time, one is refused", async () => {
  await call("/orders/b-1", { customer: "bob", totalCents: 300 });
  const payments = await Promise.all([1, 2].map(() => call("/orders/b-1/payments", { amountCents: 300 })));
  assert.deepEqual(payments.map(({ status }) => status).sort(), [200, 422]);
});

test("what the server cannot use is refused, and nothing is stored", async () => {
  assert.equal((await call("/orders/c-1", { customer: "", totalCents: 1 })).status, 400);
  assert.equal((await call("/orders/c-1", { customer: "carol", totalCents: 1.5 })).status, 400);
  assert.equal((await call("/orders/c-1/payments", { amountCents: 1 })).status, 422);
  assert.equal((await call("/orders/c-1/refunds", {})).status, 404);
  assert.equal((await call("/orders/c-1")).status, 404);
});
