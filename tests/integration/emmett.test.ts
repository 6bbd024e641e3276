// What emmett documents of its event stores, on ours: an adapter with text stream names and no tables of its own.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import {
  CommandHandler,
  DeciderCommandHandler,
  type Event,
  ExpectedVersionConflictError,
  IllegalStateError,
  STREAM_DOES_NOT_EXIST,
  STREAM_EXISTS,
} from "@event-driven-io/emmett";
import { type EventStore, readStream } from "../../scripts/lib/index.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { emmettStore, type Store } from "../support/emmett-store.ts";
import { openTestStore } from "../support/event-store.ts";

let database: TestDatabase;
let store: EventStore;
let emmett: Store;
before(async () => {
  database = await withDatabase();
  store = openTestStore(database);
  emmett = emmettStore(store);
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

type ProductItemAdded = Event<"ProductItemAdded", { productId: string; quantity: number }>;
type Confirmed = Event<"ShoppingCartConfirmed", { confirmedBy: string }>;
type CartEvent = ProductItemAdded | Confirmed;

interface Cart {
  readonly quantity: number;
  readonly isConfirmed: boolean;
}

const initialState = (): Cart => ({ quantity: 0, isConfirmed: false });

function evolve(cart: Cart, event: CartEvent): Cart {
  if (event.type === "ShoppingCartConfirmed") return { ...cart, isConfirmed: true };
  return { ...cart, quantity: cart.quantity + event.data.quantity };
}

function added(quantity: number): ProductItemAdded {
  return { type: "ProductItemAdded", data: { productId: "shoes", quantity } };
}

const confirmed: Confirmed = { type: "ShoppingCartConfirmed", data: { confirmedBy: "ada" } };

function newCart(separator = ":"): string {
  return `shopping_cart${separator}${randomUUID()}`;
}

test("an append creates the stream, and returns the version that the next one expects", async () => {
  const cart = newCart();
  const first = await emmett.appendToStream<CartEvent>(cart, [added(1), added(2)]);
  assert.deepEqual([first.nextExpectedStreamVersion, first.createdNewStream], [2n, true]);
  const second = await emmett.appendToStream<CartEvent>(cart, [confirmed], {
    expectedStreamVersion: first.nextExpectedStreamVersion,
  });
  assert.deepEqual([second.nextExpectedStreamVersion, second.createdNewStream], [3n, false]);
  assert.ok(second.lastEventGlobalPosition > first.lastEventGlobalPosition);
});

test("a stream that does not exist has no events, version 0 and the initial state", async () => {
  const cart = newCart();
  const empty = { currentStreamVersion: 0n, streamExists: false };
  assert.deepEqual(await emmett.readStream(cart), { ...empty, events: [] });
  assert.deepEqual(await emmett.aggregateStream<Cart, CartEvent>(cart, { evolve, initialState }), {
    ...empty,
    state: initialState(),
  });
  assert.equal(await emmett.streamExists(cart), false);
  await emmett.appendToStream(cart, [added(1)]);
  assert.equal(await emmett.streamExists(cart), true);
});

test("a stream is read from a version, up to one, or a number of events, with their metadata", async () => {
  const cart = newCart("-");
  await emmett.appendToStream(
    cart,
    [1, 2, 3, 4, 5].map((quantity) => ({ ...added(quantity), metadata: { user: "ada" } })),
  );
  const quantities = async (options: { from?: bigint; to?: bigint; maxCount?: bigint } = {}) => {
    const { events, currentStreamVersion, streamExists } = await emmett.readStream<ProductItemAdded>(cart, options);
    assert.deepEqual([currentStreamVersion, streamExists], [5n, true]);
    return events.map(({ data }) => data.quantity);
  };
  assert.deepEqual(await quantities(), [1, 2, 3, 4, 5]);
  assert.deepEqual(await quantities({ from: 0n, maxCount: 0n }), [1, 2, 3, 4, 5]);
  assert.deepEqual(await quantities({ from: 3n }), [3, 4, 5]);
  assert.deepEqual(await quantities({ to: 2n }), [1, 2]);
  assert.deepEqual(await quantities({ from: 2n, to: 4n }), [2, 3, 4]);
  assert.deepEqual(await quantities({ from: 2n, maxCount: 2n }), [2, 3]);
  const { events } = await emmett.readStream(cart);
  const metadata = events.map((event) => event.metadata as Readonly<Record<string, unknown>>);
  assert.deepEqual(
    metadata.map(({ streamName, streamPosition, user }) => [streamName, streamPosition, user]),
    [1n, 2n, 3n, 4n, 5n].map((position) => [cart, position, "ada"]),
  );
  assert.equal(new Set(metadata.map(({ messageId }) => messageId)).size, 5);
  const positions = metadata.map(({ globalPosition }) => globalPosition as bigint);
  assert.deepEqual(
    positions,
    positions.toSorted((one, other) => Number(one - other)),
  );
});

test("the state of a stream is folded from its events, whatever text names it", async () => {
  for (const cart of [newCart(), "cart 漢字 👩‍👧 'x'", "no-separator".replace("-", ""), newCart().toUpperCase()]) {
    await emmett.appendToStream<CartEvent>(cart, [added(2), added(5), confirmed]);
    const { state, ...stream } = await emmett.aggregateStream<Cart, CartEvent>(cart, { evolve, initialState });
    assert.deepEqual(state, { quantity: 7, isConfirmed: true });
    assert.deepEqual(stream, { currentStreamVersion: 3n, streamExists: true });
    const up = await emmett.aggregateStream<Cart, CartEvent>(cart, { evolve, initialState, read: { to: 1n } });
    assert.equal(up.state.quantity, 2);
  }
});

test("an append is refused if the stream is not as expected, and nothing is stored", async () => {
  const cart = newCart();
  const append = (expectedStreamVersion: bigint | typeof STREAM_EXISTS) =>
    emmett.appendToStream(cart, [added(1)], { expectedStreamVersion });
  await assert.rejects(append(STREAM_EXISTS), ExpectedVersionConflictError);
  await assert.rejects(append(1n), ExpectedVersionConflictError);
  await append(STREAM_DOES_NOT_EXIST);
  await assert.rejects(append(STREAM_DOES_NOT_EXIST), ExpectedVersionConflictError);
  await assert.rejects(append(0n), ExpectedVersionConflictError);
  await assert.rejects(append(2n), (error: ExpectedVersionConflictError) => {
    assert.ok(error instanceof ExpectedVersionConflictError);
    assert.deepEqual([error.current, error.expected], ["1", "2"]);
    return true;
  });
  await append(1n);
  await append(STREAM_EXISTS);
  const { currentStreamVersion } = await emmett.readStream(cart, { expectedStreamVersion: 3n });
  assert.equal(currentStreamVersion, 3n);
  await assert.rejects(emmett.readStream(cart, { expectedStreamVersion: 2n }), ExpectedVersionConflictError);
});

const handle = CommandHandler<Cart, CartEvent>({ evolve, initialState });

test("a command handler appends what it decides, and nothing if it throws or decides nothing", async () => {
  const cart = newCart();
  const { newState, newEvents, nextExpectedStreamVersion } = await handle(emmett, cart, () => [added(2), added(3)]);
  assert.deepEqual([newState.quantity, newEvents.length, nextExpectedStreamVersion], [5, 2, 2n]);
  await assert.rejects(
    handle(emmett, cart, () => {
      throw new IllegalStateError("no");
    }),
    IllegalStateError,
  );
  const idle = await handle(emmett, cart, () => []);
  assert.deepEqual([idle.newState.quantity, idle.nextExpectedStreamVersion], [5, 2n]);
  assert.equal((await emmett.readStream(cart)).currentStreamVersion, 2n);
});

test("concurrent command handlers that retry version conflicts lose and repeat nothing", async () => {
  const cart = newCart();
  const retry = { onVersionConflict: 50 };
  await Promise.all(
    Array.from({ length: 20 }, () =>
      handle(emmett, cart, ({ quantity }) => ({ ...added(1), data: { productId: `${quantity}`, quantity: 1 } }), {
        retry,
      }),
    ),
  );
  const { events } = await emmett.readStream<ProductItemAdded>(cart);
  assert.deepEqual(
    events.map(({ data }) => data.productId),
    Array.from({ length: 20 }, (_, index) => `${index}`),
  );
});

test("a decider sees the state that its earlier commands have led to", async () => {
  type Command =
    | { readonly type: "Add"; readonly data: { readonly quantity: number } }
    | { readonly type: "Confirm"; readonly data: Record<string, never> };
  const decider = DeciderCommandHandler<Cart, Command, CartEvent>({
    evolve,
    initialState,
    decide(command, { quantity, isConfirmed }) {
      if (isConfirmed) throw new IllegalStateError("the cart is confirmed");
      if (command.type === "Add") return added(command.data.quantity);
      if (quantity === 0) throw new IllegalStateError("the cart is empty");
      return confirmed;
    },
  });
  const cart = newCart();
  await assert.rejects(decider(emmett, cart, { type: "Confirm", data: {} }), IllegalStateError);
  await decider(emmett, cart, [
    { type: "Add", data: { quantity: 1 } },
    { type: "Confirm", data: {} },
  ]);
  await assert.rejects(decider(emmett, cart, { type: "Add", data: { quantity: 1 } }), /confirmed/);
  assert.equal((await emmett.readStream(cart)).currentStreamVersion, 2n);
});

test("what a session appends is stored together or not at all", async () => {
  const [one, other] = [newCart(), newCart()];
  const work = (fails: boolean) =>
    emmett.withSession(async ({ eventStore }) => {
      await eventStore.appendToStream(one, [added(1)]);
      await eventStore.appendToStream(other, [added(1)]);
      assert.equal((await eventStore.readStream(one)).currentStreamVersion, 1n, "it sees what it has appended");
      if (fails) throw new IllegalStateError("no");
    });
  await assert.rejects(work(true), IllegalStateError);
  assert.deepEqual([await emmett.streamExists(one), await emmett.streamExists(other)], [false, false]);
  await work(false);
  assert.deepEqual([await emmett.streamExists(one), await emmett.streamExists(other)], [true, true]);
});

test("events are converted when they are read and appended", async () => {
  const cart = newCart();
  type Old = Event<"ProductItemAdded", { productId: string; count: number }>;
  const versioning = {
    downcast: ({ type, data: { productId, quantity } }: ProductItemAdded): Old => ({
      type,
      data: { productId, count: quantity },
    }),
    upcast: ({ type, data: { productId, count } }: Old): ProductItemAdded => ({
      type,
      data: { productId, quantity: count },
    }),
  };
  await emmett.appendToStream<ProductItemAdded, Old>(cart, [added(4)], { schema: { versioning } });
  const read = { schema: { versioning } };
  const { events } = await emmett.readStream<ProductItemAdded, Old>(cart, read);
  assert.deepEqual(events[0]?.data, { productId: "shoes", quantity: 4 });
  const { state } = await emmett.aggregateStream<Cart, ProductItemAdded, Old>(cart, { evolve, initialState, read });
  assert.equal(state.quantity, 4);
  const [stored] = await Array.fromAsync(readStream(store, { type: "shopping_cart", id: cart }));
  assert.deepEqual(stored?.data, { productId: "shoes", count: 4 });
});
