import type { Aggregate, NewEvent } from "../event-store/event.ts";
import { aggregateIdOf } from "../event-store/stream-id.ts";
import { arrivalProbability, calendarTime, dayOf } from "./business-time.ts";
import { carriers, chooseLines, chooseName, countries, priceOf } from "./catalogue.ts";
import type { OrderLine, ShopEvent } from "./events.ts";
import { Random } from "./random.ts";

/** An event of the demo, and the version that its stream has before it. */
export interface DemoEvent {
  readonly aggregate: Aggregate;
  readonly expectedVersion: number;
  readonly event: NewEvent<ShopEvent> & { readonly id: string };
}

/** Yields events; a number is a pause in seconds of business time. */
type Story = Generator<DemoEvent | number, void>;

/** A growing shop, up to a bound that keeps the number of orders in flight constant. */
const [firstOrdersPerDay, growthPerDay, maxOrdersPerDay] = [12, 1.03, 2_000];

/**
 * Tells the story of a shop without end, in the order of time: customers, orders, payments and shipments. The same seed
 * gives the same events, so a longer story begins with the shorter one.
 */
export function* tellShop(seed: string): Generator<DemoEvent, never> {
  const shop = new Shop(seed);
  /** By the second in which they go on. */
  const stories = new Map<number, Story[]>();
  let perDay = firstOrdersPerDay;
  for (let second = 0; ; second++) {
    if (dayOf(second) > dayOf(second - 1) && second > 0) perDay = Math.min(perDay * growthPerDay, maxOrdersPerDay);
    shop.second = second;
    const due = stories.get(second) ?? [];
    if (due.length > 0) stories.delete(second);
    if (shop.random.chance(arrivalProbability(second, perDay))) due.push(shop.order());
    for (const story of due) {
      const pause = yield* tellUntilPause(story);
      if (pause !== undefined) addTo(stories, second + pause, story);
    }
  }
}

/** @returns the pause; undefined at the end */
function* tellUntilPause(story: Story): Generator<DemoEvent, number | undefined> {
  for (let told = story.next(); !told.done; told = story.next()) {
    if (typeof told.value === "number") return told.value;
    yield told.value;
  }
  return undefined;
}

function addTo(stories: Map<number, Story[]>, second: number, story: Story): void {
  const list = stories.get(second);
  if (list === undefined) stories.set(second, [story]);
  else list.push(story);
}

/** The stream of an aggregate while its story is told. */
interface Stream {
  readonly aggregate: Aggregate;
  version: number;
}

/** An order whose story is told. */
interface OpenOrder {
  readonly stream: Stream;
  readonly payment: Stream;
  readonly number: number;
  readonly lines: readonly OrderLine[];
  readonly totalCents: number;
}

/** A part of an order. */
interface Parcel {
  readonly stream: Stream;
  readonly lines: readonly OrderLine[];
  readonly dispatched: DemoEvent;
}

/** What an event refers to: the event that caused it, and the order that both belong to. */
type Cause = Pick<DemoEvent["event"], "correlationId"> & { readonly id?: string };

/** Of this many orders, one is picked at random and its customer orders again, which gives a few customers the most. */
const rememberedOrders = 10_000;
const newCustomerShare = 0.2;
const minutes = 60;
const hours = 60 * minutes;

class Shop {
  /** Business time. */
  second = 0;
  readonly random: Random;
  readonly #ids: Random;
  #orders = 0;
  #customers = 0;
  /** The customers of the last orders, in a ring. */
  readonly #recent: number[] = [];
  /** Versions of the customers who have moved; all others are at 1. */
  readonly #moved = new Map<number, number>();

  constructor(seed: string) {
    this.random = new Random(`shop ${seed}`);
    this.#ids = new Random(`ids ${seed}`);
  }

  /** One order from its placement to its delivery. */
  *order(): Story {
    const { random } = this;
    const number = ++this.#orders;
    const correlationId = this.#newId();
    const customer = yield* this.#customer(number, correlationId);
    const [stream, payment] = [newStream("Order", `order-${number}`), newStream("Payment", `payment-${number}`)];
    const lines = chooseLines(random);
    const totalCents = priceOf(lines);
    const data = { customerId: aggregateIdOf(customer), totalCents, lines, placedAt: this.#now() };
    const placed = this.#event(stream, { type: "OrderPlaced", data }, { correlationId });
    yield placed;
    const order = { stream, payment, number, lines, totalCents };
    const paid = yield* this.#pay(order, placed);
    if (paid === undefined) return;
    yield random.integer(20 * minutes, 8 * hours);
    if (random.chance(0.04)) return yield* this.#cancelPaid(order, paid);
    yield* this.#ship(order, paid);
  }

  /** @returns the id of a customer, who may be new */
  *#customer(order: number, correlationId: string): Generator<DemoEvent | number, string> {
    const { random } = this;
    const isNew = this.#recent.length === 0 || random.chance(newCustomerShare);
    const number = isNew ? ++this.#customers : random.pick(this.#recent);
    this.#recent[(order - 1) % rememberedOrders] = number;
    const stream = newStream("Customer", `customer-${number}`);
    if (isNew) {
      const data = { name: chooseName(random), country: random.pick(countries), registeredAt: this.#now() };
      yield this.#event(stream, { type: "CustomerRegistered", data }, { correlationId });
    } else if (random.chance(0.03)) {
      stream.version = this.#moved.get(number) ?? 1;
      const data = { country: random.pick(countries), movedAt: this.#now() };
      yield this.#event(stream, { type: "CustomerMoved", data }, { correlationId });
      this.#moved.set(number, stream.version);
    }
    return stream.aggregate.id;
  }

  /** @returns the event that the order is paid; undefined if it was cancelled */
  *#pay(order: OpenOrder, placed: DemoEvent): Generator<DemoEvent | number, DemoEvent | undefined> {
    const { random } = this;
    let cause = placed;
    for (let attempt = 1; attempt <= 2; attempt++) {
      const request = { orderId: order.stream.aggregate.id, amountCents: order.totalCents, requestedAt: this.#now() };
      const requested = this.#event(order.payment, { type: "PaymentRequested", data: request }, cause.event);
      yield requested;
      yield random.integer(2, 90);
      if (random.chance(0.93)) return yield* this.#capture(order, requested);
      const data = { reason: random.pick(["insufficient funds", "card expired", "limit"]), declinedAt: this.#now() };
      cause = this.#event(order.payment, { type: "PaymentDeclined", data }, requested.event);
      yield cause;
      yield random.integer(1 * minutes, 30 * minutes);
    }
    const data = { reason: "payment declined", cancelledAt: this.#now() };
    yield this.#event(order.stream, { type: "OrderCancelled", data }, cause.event);
    return undefined;
  }

  *#capture({ stream, payment, totalCents }: OpenOrder, { event }: DemoEvent): Generator<DemoEvent, DemoEvent> {
    const amountCents = totalCents;
    const data = { amountCents, capturedAt: this.#now() };
    const captured = this.#event(payment, { type: "PaymentCaptured", data }, event);
    yield captured;
    const paid = { type: "OrderPaid", data: { amountCents, paidAt: this.#now() } } as const;
    const last = this.#event(stream, paid, captured.event);
    yield last;
    return last;
  }

  *#cancelPaid(order: OpenOrder, paid: DemoEvent): Story {
    const data = { reason: "changed my mind", cancelledAt: this.#now() };
    const cancelled = this.#event(order.stream, { type: "OrderCancelled", data }, paid.event);
    yield cancelled;
    yield this.random.integer(1 * minutes, 4 * hours);
    yield this.#refund(order, order.totalCents, cancelled);
  }

  /** Some orders of several lines are sent in two parts, and the second part may take days. */
  *#ship(order: OpenOrder, paid: DemoEvent): Story {
    const { random } = this;
    const split = order.lines.length > 1 && random.chance(0.3) ? random.integer(1, order.lines.length - 1) : 0;
    const parts = split === 0 ? [order.lines] : [order.lines.slice(0, split), order.lines.slice(split)];
    const carrier = random.pick(carriers);
    const sent: Parcel[] = [];
    for (const [index, lines] of parts.entries()) {
      if (index > 0) yield random.integer(2 * hours, 20 * hours);
      const stream = newStream("Shipment", `shipment-${order.number}-${index + 1}`);
      const data = { orderId: order.stream.aggregate.id, carrier, lines, dispatchedAt: this.#now() };
      const dispatched = this.#event(stream, { type: "ShipmentDispatched", data }, paid.event);
      yield dispatched;
      sent.push({ stream, lines, dispatched });
    }
    const last = sent.at(-1) as Parcel;
    const shipped = { type: "OrderShipped", data: { carrier, shippedAt: this.#now() } } as const;
    yield this.#event(order.stream, shipped, last.dispatched.event);
    for (const parcel of sent) yield* this.#deliver(order, parcel);
  }

  /** Some parcels come back, and what was in them is refunded. */
  *#deliver(order: OpenOrder, { stream, lines, dispatched }: Parcel): Story {
    const { random } = this;
    yield random.integer(4 * hours, 20 * hours);
    const deliveredAt = this.#now();
    const delivered = this.#event(stream, { type: "ShipmentDelivered", data: { deliveredAt } }, dispatched.event);
    yield delivered;
    if (!random.chance(0.06)) return;
    yield random.integer(20 * hours, 80 * hours);
    const data = { reason: random.pick(["damaged", "does not fit", "not as described"]), returnedAt: this.#now() };
    const returned = this.#event(stream, { type: "ShipmentReturned", data }, delivered.event);
    yield returned;
    yield random.integer(1 * hours, 10 * hours);
    yield this.#refund(order, priceOf(lines), returned);
  }

  #refund({ payment }: OpenOrder, amountCents: number, { event }: DemoEvent): DemoEvent {
    return this.#event(payment, { type: "PaymentRefunded", data: { amountCents, refundedAt: this.#now() } }, event);
  }

  /** @param cause the event that caused it, or an event with only the correlation id */
  #event(stream: Stream, event: ShopEvent, { id, correlationId }: Cause): DemoEvent {
    const context = { correlationId, ...(id === undefined ? {} : { causationId: id }) };
    const metadata = { source: "seed" };
    const expectedVersion = stream.version++;
    return {
      aggregate: stream.aggregate,
      expectedVersion,
      event: { id: this.#newId(), ...event, metadata, ...context } as DemoEvent["event"],
    };
  }

  #newId(): string {
    return this.#ids.uuid(calendarTime(this.second));
  }

  #now(): string {
    return calendarTime(this.second).toISOString();
  }
}

function newStream(type: string, id: string): Stream {
  return { aggregate: { type, id }, version: 0 };
}
