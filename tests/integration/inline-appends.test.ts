// Appends with inline projections whose input is unusual, or that fail together.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { readStream } from "../../scripts/lib/event-store/read.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { aggregateIdOf } from "../../scripts/lib/event-store/stream-id.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore } from "../support/event-store.ts";
import { journal, readJournal } from "../support/projection.ts";

let database: TestDatabase;
before(async () => {
  database = await withDatabase();
});
after(() => database[Symbol.asyncDispose]());

type Definition = ProjectionDefinition<OrderEvent>;
type Handle = Definition["handle"];

/** Opens a store with an inline journal of one type of events. @param check runs after the journal was written */
function inline(type: string, check: Handle = async () => undefined): EventStore {
  const definition = { ...journal(type), events: [type as "OrderPlaced"] };
  const handle: Handle = async (events, tx) => {
    await definition.handle(events, tx);
    await check(events, tx);
  };
  return openTestStore(database, { inlineProjections: [{ ...definition, handle }], logger: false });
}

/** @returns the numbers that `numbered()` gave the events */
function numbersOf(events: Parameters<Handle>[0]): number[] {
  return events.map(({ data }) => (data as { readonly total: number }).total);
}

function numbered(type: string, total: number) {
  return [{ type, data: { total } }];
}

async function versionOf(store: EventStore, streamId: string): Promise<number> {
  const [row] = await store.sql<{ version: number }[]>`
    select version from event_store.event_stream where stream_id = ${streamId}::text::uuid`;
  return row?.version ?? 0;
}

test("events may be instances of a class whose properties are getters", async () => {
  class Placed {
    readonly data = { total: 1 };
    get type() {
      return "classy";
    }
    get version() {
      return 2;
    }
    toJSON() {
      return { type: "another" };
    }
  }
  const seen: number[] = [];
  await using store = inline("classy", async (events) => void seen.push(...events.map(({ version }) => version)));
  const order = newOrder();
  await appendEvents(store, order, [new Placed()]);
  assert.deepEqual([...(await readJournal(store, "classy")).values()], [[1]]);
  const [stored] = await Array.fromAsync(readStream(store, order));
  assert.deepEqual([seen, stored?.version], [[2], 2]);
});

test("an aggregate that a text names has it in the handler, even if the append names its UUID", async () => {
  const seen: string[] = [];
  await using store = inline("named", async (events) => void seen.push(...events.map(({ aggregate }) => aggregate.id)));
  for (const id of ["cart-1", aggregateIdOf("cart-1"), aggregateIdOf("cart-1").toUpperCase()]) {
    await appendEvents(store, { type: "Cart", id }, numbered("named", 1));
  }
  assert.deepEqual(seen, ["cart-1", "cart-1", "cart-1"]);
});

test("appends that one transaction makes at once do not take back each other", async () => {
  await using store = inline("at_once", async (events) => {
    if (numbersOf(events).includes(0)) throw new Error("zero");
  });
  const outcomes = await store.transaction((transaction) => {
    const append = (type: string, total: number) =>
      appendEvents(store, newOrder(), numbered(type, total), { transaction });
    return Promise.allSettled([append("at_once", 1), append("at_once", 0), append("at_once", 2), append("other", 3)]);
  });
  const versions = await Promise.all(
    outcomes.map((one) => (one.status === "rejected" ? String(one.reason) : versionOf(store, one.value.streamId))),
  );
  assert.deepEqual(versions, [1, "Error: zero", 1, 1]);
  assert.equal((await readJournal(store, "at_once")).size, 2);
});

test("a batch that conflicts with others again and again is halved", async () => {
  await using store = inline("conflict", async (events, tx) => {
    if (events.length === 1 || !numbersOf(events).includes(3)) return;
    await tx.unsafe("do $$ begin raise exception using errcode = '55P03'; end $$");
  });
  await Promise.all(
    Array.from({ length: 10 }, (_, index) => appendEvents(store, newOrder(), numbered("conflict", index))),
  );
  assert.equal((await readJournal(store, "conflict")).size, 10);
});
