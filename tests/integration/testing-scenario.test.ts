// scenario() of a projection, in a test store of its own.

import { AssertionError } from "node:assert";
import assert from "node:assert/strict";
import process from "node:process";
import { after, before, test } from "node:test";
import type { DomainEvent, ProjectionDefinition } from "../../scripts/lib/index.ts";
import { scenario } from "../../scripts/lib/testing/index.ts";
import { databasesLike, makeTestServerFolder, type TestServerFolder } from "../support/test-stores.ts";

type OrderEvent =
  | DomainEvent<"OrderPlaced", { readonly total: number; readonly at?: Date | string }>
  | DomainEvent<"OrderPaid", { readonly amount: number }>;

const orderTotal: ProjectionDefinition<OrderEvent> = {
  name: "order_total",
  version: 1,
  events: ["OrderPlaced", "OrderPaid"],
  relations: {
    names: ["order_total"],
    create: (tx) => tx`
      create table order_total (id text primary key, total int not null, paid int not null check (paid <= total), at text)`,
  },
  async handle(events, tx) {
    for (const event of events) {
      const { id } = event.aggregate;
      if (event.type === "OrderPlaced") {
        const { total, at = null } = event.data;
        await tx`insert into order_total values (${id}, ${total}, 0, ${at as string | null})`;
      } else if (event.data.amount < 0) throw new RangeError(`amount ${event.data.amount}`);
      else await tx`update order_total set paid = paid + ${event.data.amount} where id = ${id}`;
    }
  },
};

const placed: OrderEvent = { type: "OrderPlaced", data: { total: 42 } };
const [one, two] = ["o-1", "o-2"].map((id) => ({ type: "Order", id })) as [Order, Order];
const query = "select id, total, paid from order_total order by id";
type Order = { readonly type: string; readonly id: string };

let folder: TestServerFolder;
before(async () => {
  folder = await makeTestServerFolder();
  process.env["CQRS_STACK_DIR"] = folder.stackDir;
});
after(() => folder[Symbol.asyncDispose]());

test("the events of several aggregates are projected, and the rows compared", async () => {
  const given = scenario(orderTotal)
    .given(one, placed, { type: "OrderPaid", data: { amount: 2 } })
    .given(two, placed);
  await given.thenRows(query, [
    { id: "o-1", total: 42, paid: 2 },
    { id: "o-2", total: 42, paid: 0 },
  ]);
  await assert.rejects(given.thenRows(query, [{ id: "o-1", total: 42, paid: 3 }]), isAssertion(/paid: 2/));
  await scenario(orderTotal).thenRows(query, []);
  assert.deepEqual(await databasesLike(folder, "cqrs_test_"), []);
});

test("a date reaches the projection as text, and upcasters apply", async () => {
  const upcasters = { OrderPlaced: { 1: (data: { total: number }) => ({ ...data, total: data.total * 100 }) } };
  await scenario(orderTotal, { upcasters })
    .given(one, { type: "OrderPlaced", data: { total: 1, at: new Date(0) } })
    .thenRows("select total, at from order_total", [{ total: 100, at: "1970-01-01T00:00:00.000Z" }]);
});

test("what handle throws, or the server refuses, fails the scenario with the event and the reason", async () => {
  const broken = scenario(orderTotal).given(one, placed, { type: "OrderPaid", data: { amount: -1 } });
  await assert.rejects(broken.thenRows(query, []), (error: Error) => {
    assert.ok(isAssertion(/order_total failed on event 2 \(OrderPaid\) of Order o-1: RangeError: amount -1/)(error));
    assert.ok(error.cause instanceof RangeError);
    return true;
  });
  const refused = scenario(orderTotal).given(one, placed, { type: "OrderPaid", data: { amount: 43 } });
  await assert.rejects(refused.thenRows(query, []), isAssertion(/failed on event 2 .*order_total_check/));
});

test("thenStore() is for other assertions, and its error is the scenario's", async () => {
  const given = scenario(orderTotal).given(one, placed);
  const seen: unknown[] = [];
  await given.thenStore(async ({ sql }) => seen.push(...(await sql`select id from order_total`)));
  assert.deepEqual(seen, [{ id: "o-1" }]);
  const failure = new Error("mine");
  await assert.rejects(
    given.thenStore(() => Promise.reject(failure)),
    failure,
  );
});

test("a definition that project() refuses is refused", async () => {
  const wrong = { ...orderTotal, evens: [] };
  await assert.rejects(scenario(wrong).given(one, placed).thenRows(query, []), /project\(\) has no option "evens"/);
});

function isAssertion(message: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof AssertionError && message.test(error.message);
}
