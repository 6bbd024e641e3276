import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { checkpointPlace, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import type { Aggregate, RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readAll, readStream } from "../../scripts/lib/event-store/read.ts";
import { readPages } from "../../scripts/lib/event-store/read-log.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, openTestStore } from "../support/event-store.ts";

const mib = 1024 * 1024;
/**
 * The sizes of the events' texts, in kB: small, large and mixed, compressible and not. In pages of 6, the second is cut
 * while the third is in flight.
 */
const sizes = [1, 9, 12, 600, 40, 1, 2_500, 2_500, 2_500, 2_500, 2_500, 1, 40, 9_000, 700, 9, 1, 700];

let database: TestDatabase;
let store: EventStore;
let order: Aggregate;
before(async () => {
  database = await withDatabase();
  store = openTestStore(database, { upcasters: { A: { 1: (data: object) => ({ ...data, isConverted: true }) } } });
  order = newOrder();
  const events = sizes.map((size, index) => ({
    type: index % 2 === 0 ? "A" : "B",
    data: { text: textOf(size, index) },
  }));
  await appendEvents(store, order, events);
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const texts: string[] = [];
function textOf(size: number, index: number): string {
  const text = index % 3 === 0 ? "x".repeat(size * 1024) : randomBytes(size * 768).toString("base64");
  texts.push(text);
  return text;
}

function checkEvents(events: readonly RecordedEvent[], versions: readonly number[]): void {
  assert.deepEqual(
    events.map(({ aggregateVersion }) => aggregateVersion),
    versions,
  );
  for (const { type, aggregateVersion, data } of events) {
    const { text, isConverted = false } = data as { text: string; isConverted?: boolean };
    assert.ok(text === texts[aggregateVersion - 1], `the data of event ${aggregateVersion}`);
    assert.equal(isConverted, type === "A");
  }
}

const all = sizes.map((_, index) => index + 1);

test("large events are read completely and in order, at any page size, forwards and backwards", async () => {
  for (const pageSize of [3, 1000]) {
    checkEvents(await Array.fromAsync(readStream(store, order, { pageSize })), all);
    const backwards = { pageSize, backwards: true, maxCount: 12 };
    checkEvents(await Array.fromAsync(readStream(store, order, backwards)), all.toReversed().slice(0, 12));
    checkEvents(await Array.fromAsync(readAll(store, { pageSize })), all);
    checkEvents(await Array.fromAsync(readAll(store, { pageSize, eventTypes: ["B"] })), all.filter(isEven));
  }
  await store.sql.begin(async (transaction) => {
    checkEvents(await Array.fromAsync(readStream(store, order, { transaction, afterVersion: 3 })), all.slice(3));
    checkEvents(await Array.fromAsync(readAll(store, { transaction, pageSize: 4 })), all);
  });
});

const isEven = (version: number) => version % 2 === 0;

test("pages and batches of large events are bounded by bytes, and their checkpoints lose nothing", async () => {
  const bytes = (events: readonly RecordedEvent[]) =>
    events.reduce((sum, { data }) => sum + (data as { text: string }).text.length, 0);
  const options = { after: checkpointPlace(logStart), isKeptOutside: true, maxCount: 6, upcasters: store.upcasters };
  const pages = await Array.fromAsync(readPages(store.sql, options));
  checkEvents(
    pages.flatMap(({ events }) => events),
    all,
  );
  for (const { events } of pages) assert.ok(bytes(events) <= 16 * mib, `${bytes(events)} bytes`);
  assert.deepEqual(
    pages.map(({ isAtEnd }) => isAtEnd),
    pages.map((_, index) => index === pages.length - 1),
  );
  let after = logStart;
  const seen: RecordedEvent[] = [];
  while (seen.length < sizes.length) {
    for await (const { events, checkpoint } of subscribe(store, { after })) {
      assert.ok(bytes(events) <= 16 * mib, `${bytes(events)} bytes`);
      seen.push(...events);
      after = checkpoint;
      break;
    }
  }
  checkEvents(seen, all);
});
