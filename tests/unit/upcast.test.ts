import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { planUpcasts } from "../../scripts/lib/event-store/plan-upcasts.ts";
import {
  keepStored,
  type Rewrite,
  storedTypes,
  type Upcasters,
  upcastEvents,
} from "../../scripts/lib/event-store/upcast.ts";

function stored(type: string, data: unknown = {}, version = 1): RecordedEvent {
  const aggregate = { type: "Order", id: "o" };
  return { type, version, data, aggregate, aggregateVersion: 7 } as unknown as RecordedEvent;
}

/** @returns the type, version and data of what events become */
function becomes(events: readonly RecordedEvent[], upcasters: Upcasters, eventTypes?: readonly string[]) {
  const converted = upcastEvents(events, planUpcasts(upcasters), eventTypes);
  return converted.map(({ type, version, data }) => [type, version, data]);
}

const inVersions = {
  OrderPlaced: {
    1: (data: { sum: number }) => ({ total: data.sum }),
    2: (data: { total: number }) => ({ ...data, currency: "EUR" }),
  },
};

test("functions convert version by version, and leave other events as they are", () => {
  const placed = { total: 3, currency: "EUR" };
  assert.deepEqual(becomes([stored("OrderPlaced", { sum: 3 })], inVersions), [["OrderPlaced", 3, placed]]);
  const others = [stored("OrderPlaced", {}, 3), stored("constructor"), stored("__proto__")];
  const kept = upcastEvents(others, planUpcasts(inVersions));
  for (const [index, event] of others.entries()) assert.equal(kept[index], event);
  assert.equal(upcastEvents(others, keepStored), others);
  assert.equal(upcastEvents(others, planUpcasts({})), others);
});

test("a function that returns no data fails", () => {
  for (const [upcaster, why] of [
    [() => undefined, /version 1 failed .*: it returned undefined, not the data of an event$/],
    [async () => ({}), /it returned a promise; upcasters must not be async$/],
  ] as const) {
    assert.throws(() => becomes([stored("OrderPlaced")], { OrderPlaced: { 1: upcaster } }), why);
  }
});

test("an event is renamed, split or dropped; each part is converted by the upcasters of its own type and version", () => {
  const upcasters = {
    ...inVersions,
    OrderCreated: { 1: (data: object) => ({ ...data, isOld: true }), 2: { into: { OrderPlaced: 2 } } },
    OrderPlacedAndPaid: {
      1: {
        into: { OrderPlaced: 1, OrderPaid: 4, OrderGone: 1 },
        rewrite: ({ sum }: { sum: number }, { aggregateVersion }: RecordedEvent) => [
          { type: "OrderPaid", data: { sum, aggregateVersion } },
          { type: "OrderGone", data: null },
          { type: "OrderPlaced", data: { sum } },
          { type: "OrderPaid", data: 0 },
        ],
      },
    },
    OrderGone: { 1: { into: {} } },
    OrderTouched: { 1: { into: { OrderPlaced: 3 }, rewrite: () => [] } },
  };
  const events = [
    stored("OrderCreated", { total: 1 }),
    stored("OrderGone"),
    stored("OrderPlacedAndPaid", { sum: 2 }),
    stored("OrderTouched"),
    stored("OrderGone", {}, 2),
  ];
  const parts = becomes(events, upcasters);
  assert.deepEqual(parts, [
    ["OrderPlaced", 3, { total: 1, isOld: true, currency: "EUR" }],
    ["OrderPaid", 4, { sum: 2, aggregateVersion: 7 }],
    ["OrderPlaced", 3, { total: 2, currency: "EUR" }],
    ["OrderPaid", 4, 0],
    ["OrderGone", 2, {}],
  ]);
  const ofType = (type: string) => parts.filter(([name]) => name === type);
  assert.deepEqual(becomes(events, upcasters, ["OrderPlaced"]), ofType("OrderPlaced"));
  assert.deepEqual(becomes(events, upcasters, ["OrderGone", "OrderCreated"]), ofType("OrderGone"));
});

test("storedTypes() adds the types whose events may become those wanted, in any number of steps", () => {
  const plan = planUpcasts({
    A: { 1: { into: { B: 1 } }, 2: { into: { C: 1 } } },
    B: { 1: { into: { B: 2, D: 1 }, rewrite: () => [] } },
    "B\u0301": { 1: { into: { D: 1 } } },
  });
  assert.deepEqual(storedTypes(plan, ["D"]), ["D", "A", "B", "B\u0301"]);
  assert.deepEqual(storedTypes(plan, ["C", "B", "C"]), ["C", "A", "B"]);
  assert.deepEqual(storedTypes(plan, ["A", "other"]), ["A", "other"]);
  assert.deepEqual(storedTypes(plan, []), []);
  assert.equal(storedTypes(plan, undefined), undefined);
});

const results: readonly (readonly [what: string, rewrite: () => unknown, message: RegExp])[] = [
  ["throws", () => assert.fail("no"), /: AssertionError: no$/],
  ["returns no array", () => ({ type: "B", data: {} }), /it returned an object, not an array of events$/],
  ["is async", async () => [], /it returned a promise; upcasters must not be async$/],
  ["returns a hole", () => [undefined], /it returned undefined as an event$/],
  ["returns another type", () => [{ type: "C", data: {} }], /an event of type "C", but its into is A, B$/],
  [
    "returns a property of objects",
    () => [{ type: "toString", data: {} }],
    /of type "toString", but its into is A, B$/,
  ],
  ["returns no type", () => [{ data: {} }], /it returned an event without a type that is a string$/],
  ["returns no data", () => [{ type: "B" }], /it returned an event of type "B" without data$/],
  [
    "returns a version",
    () => [{ type: "B", data: {}, version: 2 }],
    /an event with the key "version": allowed are type, data$/,
  ],
];

for (const [what, rewrite, message] of results) {
  test(`a rewrite that ${what} fails its event, and the error names both`, () => {
    const step = { into: { A: 2, B: 1 }, rewrite: rewrite as () => [] };
    const convert = () => becomes([stored("A")], { A: { 1: step } });
    assert.throws(convert, message);
    assert.throws(convert, /^Error: the upcaster of A version 1 failed for event 7 of Order o: /);
  });
}

test("a rewrite may use this; a later change of into has no effect", () => {
  const into: Record<string, number> = { B: 1 };
  const step: Rewrite = {
    into,
    rewrite(data: object) {
      return [{ type: "B", data: { ...data, isBound: this === step } }];
    },
  };
  const plan = planUpcasts({ A: { 1: step } });
  into["B"] = 2;
  const [event] = upcastEvents([stored("A")], plan);
  assert.deepEqual([event?.type, event?.version, event?.data], ["B", 1, { isBound: true }]);
});

const malformed: readonly (readonly [upcasters: unknown, message: RegExp])[] = [
  [[], /^upcasters is an array; it must be a plain object of upcasters by event type and version$/],
  [null, /^upcasters is null; /],
  [new Map([["A", {}]]), /^upcasters is an object; /],
  [{ A: () => 1 }, /^upcasters of A is a function; it must be a plain object of upcasters by version$/],
  [{ A: undefined }, /^upcasters of A is undefined; /],
  [{ A: { x: () => 1 } }, /^a version in upcasters of A is "x"; it must be an integer from 1 to 2147483647$/],
  [{ A: { 0: () => 1 } }, /^a version in upcasters of A is 0; /],
  [{ A: { "01": () => 1 } }, /^a version in upcasters of A is "01"; /],
  [{ A: { 1.5: () => 1 } }, /^a version in upcasters of A is 1.5; /],
  [
    { A: { 1: "B" } },
    /^upcaster of A version 1 is "B"; it must be a function, or a plain object with into and rewrite$/,
  ],
  [{ A: { 1: { in: {} } } }, /^upcaster of A version 1 has no property "in": /],
  [
    { A: { 1: {} } },
    /^into of the upcaster of A version 1 is undefined; it must be a plain object of versions by event type/,
  ],
  [{ A: { 1: { into: ["B"] } } }, /^into of the upcaster of A version 1 is an array; /],
  [{ A: { 1: { into: { B: 0 } } } }, /^B in into of the upcaster of A version 1 is 0; it must be an integer from 1 /],
  [{ A: { 1: { into: { B: "1" } } } }, /^B in into of the upcaster of A version 1 is "1"; /],
  [
    { A: { 1: { into: { B: 1 }, rewrite: [] } } },
    /^rewrite of the upcaster of A version 1 is an array; it must be a function$/,
  ],
  [{ A: { 1: { into: { B: 1, C: 1 } } } }, /it must be a function, because into has several types$/],
  [
    { A: { 1: { into: { A: 1 } } } },
    /^upcasters form a cycle: A version 1 → A version 1; raise the version, or remove/,
  ],
  [
    { Z: { 1: { into: { A: 1 } } }, A: { 1: () => 1, 2: { into: { B: 1 } } }, B: { 1: { into: { A: 2 } } } },
    /^upcasters form a cycle: A version 2 → B version 1 → A version 2; /,
  ],
];

test("malformed upcasters and cycles are refused", () => {
  for (const [upcasters, message] of malformed) {
    const plan = () => planUpcasts(upcasters as Upcasters);
    assert.throws(plan, (error) => error instanceof InvalidInput && message.test(error.message), String(message));
  }
  // The same types in a circle, but not the same versions.
  const plan = planUpcasts({ A: { 1: { into: { B: 1 } } }, B: { 1: { into: { A: 2 } } } });
  assert.equal(upcastEvents([stored("A")], plan)[0]?.version, 2);
});
