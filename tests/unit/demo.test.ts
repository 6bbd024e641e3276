import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { arrivalProbability, calendarTime } from "../../scripts/lib/demo/business-time.ts";
import { Random } from "../../scripts/lib/demo/random.ts";
import { type DemoEvent, tellShop } from "../../scripts/lib/demo/shop.ts";

function tell(count: number, seed = "1"): DemoEvent[] {
  const events: DemoEvent[] = [];
  for (const event of tellShop(seed)) if (events.push(event) === count) return events;
  throw new Error("unreachable: the story has no end");
}

const story = tell(20_000);
const ofType = (type: string) => story.filter(({ event }) => event.type === type);

test("the demo is the same on every runtime, and begins with the shorter one", () => {
  const digest = (events: readonly DemoEvent[]) => createHash("sha256").update(JSON.stringify(events)).digest("hex");
  assert.equal(digest(story), "5e4647748ccf70c128baed1613f48b7cf72fcda9687e3a982326230303b0d0e1");
  assert.deepEqual(story.slice(0, 500), tell(500));
  assert.notEqual(digest(story.slice(0, 500)), digest(tell(500, "2")));
});

test("each event of the demo continues its stream, and is caused by an earlier event of its order", () => {
  const versions = new Map<string, number>();
  const orders = new Map<string, string | undefined>();
  for (const { aggregate, expectedVersion, event } of story) {
    const stream = `${aggregate.type} ${aggregate.id}`;
    assert.equal(expectedVersion, versions.get(stream) ?? 0, stream);
    versions.set(stream, expectedVersion + 1);
    assert.ok(!orders.has(event.id));
    if (event.causationId !== undefined) assert.equal(orders.get(event.causationId), event.correlationId);
    orders.set(event.id, event.correlationId);
  }
});

test("times of the demo never decrease, and are in business hours", () => {
  let last = "";
  for (const { event } of story) {
    const [, time] = Object.entries(event.data).find(([key]) => key.endsWith("At")) ?? [];
    assert.ok(typeof time === "string" && time >= last, `${time} comes after ${last}`);
    last = time;
    const date = new Date(time);
    assert.ok(date.getUTCHours() >= 8 && date.getUTCHours() < 18 && ![0, 6].includes(date.getUTCDay()), time);
  }
});

test("a few customers place most orders, most orders are small, and some are cancelled, split or returned", () => {
  const perCustomer = new Map<string, number>();
  for (const { event } of ofType("OrderPlaced")) {
    const { customerId } = event.data as { readonly customerId: string };
    perCustomer.set(customerId, (perCustomer.get(customerId) ?? 0) + 1);
  }
  const counts = [...perCustomer.values()].toSorted((one, other) => other - one);
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
  const orders = sum(counts);
  assert.ok(sum(counts.slice(0, counts.length / 10)) > orders / 2, "a tenth of the customers");
  const lines = ofType("OrderPlaced").map(({ event }) => (event.data as { lines?: unknown[] }).lines?.length ?? 0);
  assert.ok(lines.filter((count) => count === 1).length > orders / 2);
  assert.ok(Math.max(...lines) > 4);
  const share = (type: string) => ofType(type).length / orders;
  const [cancelled, refunded, returned] = ["OrderCancelled", "PaymentRefunded", "ShipmentReturned"].map(share);
  for (const found of [cancelled, refunded, returned]) assert.ok(found !== undefined && found > 0.02 && found < 0.2);
  const split = ofType("ShipmentDispatched").filter(({ aggregate }) => aggregate.id.endsWith("-2"));
  assert.ok(split.length > orders / 50);
});

test("random numbers are the same for the same seed, and evenly spread", () => {
  const [one, same, other] = [new Random("x"), new Random("x"), new Random("y")];
  const draw = (random: Random) => Array.from({ length: 6_000 }, () => random.integer(1, 6));
  const drawn = draw(one);
  assert.deepEqual(drawn, draw(same));
  assert.notDeepEqual(drawn, draw(other));
  for (const face of [1, 2, 3, 4, 5, 6]) {
    const count = drawn.filter((number) => number === face).length;
    assert.ok(count > 850 && count < 1_150, `${face}: ${count}`);
  }
  assert.match(one.uuid(), /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  assert.match(one.uuid(new Date(0)), /^00000000-0000-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  assert.throws(() => one.pick([]), /there is nothing to pick from/);
});

test("business time skips nights and weekends", () => {
  const at = (seconds: number) => calendarTime(seconds).toISOString();
  assert.equal(at(0), "2026-01-05T08:00:00.000Z");
  assert.equal(at(36_000), "2026-01-06T08:00:00.000Z");
  assert.equal(at(5 * 36_000 - 1), "2026-01-09T17:59:59.000Z");
  assert.equal(at(5 * 36_000), "2026-01-12T08:00:00.000Z");
  const day = Array.from({ length: 36_000 }, (_, second) => arrivalProbability(second, 12));
  assert.ok(Math.abs(day.reduce((sum, probability) => sum + probability) - 12) < 1e-6);
});
