import { AssertionError } from "node:assert";
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AggregateDefinition, DomainEvent, NewEvent, RecordedEvent } from "../../scripts/lib/index.ts";
import { InvalidInput } from "../../scripts/lib/index.ts";
import { scenario } from "../../scripts/lib/testing/scenario.ts";

type OrderEvent =
  | DomainEvent<"OrderPlaced", { readonly total: number; readonly at?: Date | string }>
  | DomainEvent<"OrderPaid", { readonly amount: number }>;

interface Order {
  readonly total: number;
  readonly paid: number;
  readonly seen: readonly string[];
}

class OrderClosed extends Error {
  override readonly name = "OrderClosed";
}

const order: AggregateDefinition<Order, OrderEvent> = {
  type: "Order",
  initialState: () => ({ total: 0, paid: 0, seen: [] }),
  evolve(state, event) {
    const seen = [...state.seen, `${event.aggregateVersion} ${event.type}`];
    if (event.type === "OrderPlaced") return { ...state, total: event.data.total, seen };
    return { ...state, paid: state.paid + event.data.amount, seen };
  },
};

const placed: OrderEvent = { type: "OrderPlaced", data: { total: 42 } };
const paid: OrderEvent = { type: "OrderPaid", data: { amount: 42 } };

function pay(amount: number) {
  return (state: Order): readonly NewEvent<OrderEvent>[] => {
    if (state.paid >= state.total) throw new OrderClosed(`nothing to pay of ${state.total}`);
    return amount === 0 ? [] : [{ type: "OrderPaid", data: { amount } }];
  };
}

test("a decision gets the state and the version of the given events, and its events lead to the next state", () => {
  const versions: number[] = [];
  const outcome = scenario(order)
    .given(placed)
    .when((state, version) => {
      versions.push(version);
      return pay(42)(state);
    });
  outcome.thenEvents(paid).thenState({ total: 42, paid: 42, seen: ["1 OrderPlaced", "2 OrderPaid"] });
  assert.deepEqual(versions, [1]);
  scenario(order).given(placed).when(pay(0)).thenEvents();
  scenario(order)
    .given(placed)
    .given(paid)
    .thenState({ total: 42, paid: 42, seen: ["1 OrderPlaced", "2 OrderPaid"] });
  scenario(order).thenState({ total: 0, paid: 0, seen: [] });
});

test("other events or another state fail with an AssertionError that has the difference", () => {
  const outcome = scenario(order).given(placed).when(pay(41));
  assert.throws(() => outcome.thenEvents(paid), isAssertion(/amount: 41[\s\S]*amount: 42/));
  assert.throws(() => outcome.thenEvents(), isAssertion(/OrderPaid/));
  assert.throws(() => outcome.thenEvents(placed, paid), isAssertion(/OrderPlaced/));
  assert.throws(() => outcome.thenState({ total: 42, paid: 42, seen: [] }), isAssertion(/paid: 41/));
});

test("a refusal is compared by its class or its message", () => {
  const outcome = scenario(order).given(placed, paid).when(pay(1));
  outcome.thenRefused(OrderClosed).thenRefused(/nothing to pay of 42/);
  assert.throws(
    () => outcome.thenRefused(RangeError),
    isAssertion(/OrderClosed: nothing to pay of 42, not RangeError/),
  );
  assert.throws(() => outcome.thenRefused(/all paid/), isAssertion(/not a message that matches \/all paid\//));
  assert.throws(() => outcome.thenEvents(), isAssertion(/the decision threw OrderClosed: nothing to pay/));
  assert.throws(() => outcome.thenState({ total: 42, paid: 42, seen: [] }), isAssertion(/the decision threw/));
  const accepted = scenario(order).given(placed).when(pay(1));
  assert.throws(() => accepted.thenRefused(OrderClosed), isAssertion(/returned OrderPaid, but it should have thrown/));
});

test("an assertion about a refusal keeps the decision's error as its cause", () => {
  const error = new OrderClosed("closed");
  const outcome = scenario(order).when((): NewEvent<OrderEvent>[] => {
    throw error;
  });
  assert.throws(
    () => outcome.thenEvents(),
    (thrown: Error) => thrown.cause === error,
  );
});

test("an asynchronous decision is awaited by its assertions", async () => {
  const outcome = scenario(order)
    .given(placed)
    .when(async (state) => pay(42)(state));
  await outcome.thenEvents(paid);
  await outcome.thenState({ total: 42, paid: 42, seen: ["1 OrderPlaced", "2 OrderPaid"] });
  await assert.rejects(outcome.thenEvents(placed), isAssertion(/OrderPlaced/));
  const refused = scenario(order)
    .given(placed, paid)
    .when(async (state) => pay(1)(state));
  await refused.thenRefused(OrderClosed);
  await assert.rejects(refused.thenState({ total: 0, paid: 0, seen: [] }), isAssertion(/the decision threw/));
});

test("data passes through JSON: evolve gets the text of a date, and an expected date is the same text", () => {
  const at = new Date(0);
  const dates: unknown[] = [];
  const watching: AggregateDefinition<number, OrderEvent> = {
    type: "Order",
    initialState: () => 0,
    evolve(state, event) {
      if (event.type === "OrderPlaced") dates.push(event.data.at);
      return state + 1;
    },
  };
  const event: OrderEvent = { type: "OrderPlaced", data: { total: 1, at } };
  scenario(watching)
    .given(event)
    .when(() => [event])
    .thenEvents({ type: "OrderPlaced", data: { total: 1, at: "1970-01-01T00:00:00.000Z" } })
    .thenEvents(event);
  assert.deepEqual(dates, ["1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"]);
});

test("evolve gets events as the store returns them", () => {
  let recorded: RecordedEvent | undefined;
  const watching: AggregateDefinition<number, OrderEvent> = {
    type: "Order",
    initialState: () => 0,
    evolve(state, event) {
      recorded = event;
      return state + 1;
    },
  };
  const { id, streamId, occurredAt, ...rest } = lastOf(() => {
    scenario(watching, { id: "order-1" })
      .given(placed, { ...paid, metadata: { user: "ann" }, causationId: "request-7" })
      .thenState(2);
    return recorded;
  });
  assert.match(id, /^[0-9a-f-]{36}$/);
  assert.match(streamId, /^[0-9a-f-]{36}$/);
  assert.ok(occurredAt instanceof Date);
  assert.deepEqual(rest, {
    epochId: null,
    aggregate: { type: "Order", id: "order-1" },
    aggregateVersion: 2,
    position: 2n,
    type: "OrderPaid",
    version: 1,
    data: { amount: 42 },
    metadata: { user: "ann", $causationId: "request-7" },
    causationId: "request-7",
    correlationId: null,
  });
});

test("given events are upcast, and the version counts the stored events", () => {
  const upcasters = {
    OrderCreated: { 1: { into: { OrderPlaced: 1 } } },
    OrderNoted: { 1: { into: {} } },
    OrderPlaced: { 1: (data: { total: number }) => ({ total: data.total * 100 }) },
  };
  const created = { type: "OrderCreated", data: { total: 42 } } as unknown as OrderEvent;
  const noted = { type: "OrderNoted", data: {} } as unknown as OrderEvent;
  let version = 0;
  scenario(order, { upcasters })
    .given(created, noted)
    .when((state, found) => {
      version = found;
      return pay(4200)(state);
    })
    .thenEvents({ type: "OrderPaid", data: { amount: 4200 } })
    .thenState({ total: 4200, paid: 4200, seen: ["1 OrderPlaced", "3 OrderPaid"] });
  assert.equal(version, 2);
});

test("ids and metadata are compared if the expected event has them", () => {
  const event = { ...paid, metadata: { user: "ann" }, correlationId: "c-1" };
  const outcome = scenario(order)
    .given(placed)
    .when(() => [event]);
  outcome.thenEvents(paid).thenEvents({ ...paid, correlationId: "c-1" });
  assert.throws(() => outcome.thenEvents({ ...paid, correlationId: "c-2" }), isAssertion(/c-2/));
  assert.throws(() => outcome.thenEvents({ ...paid, version: 2 }), isAssertion(/version: 2/));
});

test("a scenario can be the start of several, even if evolve modifies the state", () => {
  const counter: AggregateDefinition<{ count: number }, OrderEvent> = {
    type: "Order",
    initialState: () => ({ count: 0 }),
    evolve(state) {
      state.count++;
      return state;
    },
  };
  const base = scenario(counter).given(placed);
  base.when(() => [paid]).thenState({ count: 2 });
  base.when(() => [paid, paid]).thenState({ count: 3 });
  base.given(paid).thenState({ count: 2 });
  base.thenState({ count: 1 });
});

test("with snapshots, the state must be what JSON restores", () => {
  const snapshots = { stateVersion: 1, everyEvents: 10 };
  const dated: AggregateDefinition<{ at: Date }, OrderEvent> = {
    type: "Order",
    initialState: () => ({ at: new Date(0) }),
    evolve: (state) => state,
    snapshots,
  };
  assert.throws(
    () => scenario(dated).thenState({ at: new Date(0) }),
    isInvalid(/the state of Order contains an instance of Date at \.at/),
  );
});

test("mistakes in the use of a scenario are explained", () => {
  const untyped = scenario as unknown as (definition: unknown, options?: unknown) => ReturnType<typeof untypedScenario>;
  assert.throws(() => untyped({}), isInvalid(/definition of a scenario is an object; it must be an aggregate's/));
  assert.throws(() => untyped(undefined), isInvalid(/definition of a scenario is undefined/));
  assert.throws(() => untyped({ type: "Order", evolve() {} }), isInvalid(/initialState of the aggregate is undefined/));
  assert.throws(() => untyped({ ...order, type: "" }).given(placed), isInvalid(/the aggregate has no type/));
  assert.throws(() => untyped(order, { upcaster: {} }), isInvalid(/no option "upcaster": did you mean upcasters\?/));
  assert.throws(() => untyped(order, { id: 7 }), isInvalid(/id is 7; it must be a string/));
  const given = untyped(order).given(placed);
  assert.throws(() => given.thenEvents(paid), isInvalid(/thenEvents\(\) is about a decision: call when\(\) before it/));
  assert.throws(() => given.thenRefused(Error), isInvalid(/thenRefused\(\) is about a decision/));
  assert.throws(() => given.when([paid]), isInvalid(/when\(\) takes a function .* not an array/));
  assert.throws(() => given.when(() => paid), isInvalid(/the decision returned an object, not an array of events/));
  assert.throws(() => given.when(() => undefined), isInvalid(/the decision returned undefined/));
  assert.throws(() => given.when(() => [{ type: "OrderPaid", data: 1n }]), isInvalid(/contains a bigint/));
  assert.throws(() => given.given({ type: "OrderPaid" }), isInvalid(/event 1 \(OrderPaid\) has no data/));
  assert.throws(() => given.given({ ...paid, occurredAt: 1 }), isInvalid(/has the unknown key "occurredAt"/));
  assert.throws(() => given.when(() => []).thenRefused("closed"), isInvalid(/takes a class of errors or a regular/));
  assert.throws(() => given.when(() => []).thenEvents({ ...paid, at: 1 }), isInvalid(/has the unknown key "at"/));
});

test("mistakes in the use of a projection's scenario are explained", () => {
  const projection = { name: "p", version: 1, async handle() {} };
  const untyped = scenario as unknown as (definition: unknown, options?: unknown) => ReturnType<typeof untypedScenario>;
  assert.throws(() => untyped(projection, { id: "x" }), isInvalid(/no option "id": allowed are upcasters, projectDir/));
  assert.throws(
    () => untyped(projection).given("order-1", placed),
    isInvalid(/begins with an aggregate, but .* "order-1", not an object such as \{ type, id \}/),
  );
  assert.throws(
    () => untyped(projection).given(placed),
    isInvalid(/begins with an aggregate, but the aggregate's id is undefined/),
  );
  assert.throws(() => untyped(projection).when(() => []), isInvalid(/a projection takes no decision/));
});

declare function untypedScenario(): {
  given(...events: unknown[]): ReturnType<typeof untypedScenario>;
  when(decision: unknown): ReturnType<typeof untypedScenario>;
  thenEvents(...events: unknown[]): unknown;
  thenRefused(expected: unknown): unknown;
};

function isAssertion(message: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof AssertionError && message.test(error.message);
}

function isInvalid(message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof InvalidInput, String(error));
    assert.match(error.message, message);
    return true;
  };
}

function lastOf<Value>(find: () => Value | undefined): Value {
  const found = find();
  assert.ok(found !== undefined);
  return found;
}
