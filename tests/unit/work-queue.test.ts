import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type ItemOutcome, WorkQueue } from "../../scripts/lib/event-store/work-queue.ts";

const bounds = {
  batch: { count: 4, sizeBytes: 100 },
  worthSending: { count: 10, sizeBytes: 2000 },
  concurrency: 3,
};

// A batch counts as stalled after 100 ms, which must not happen because this process was suspended.
const realSetTimeout = globalThis.setTimeout;
const useRealTimers = () => {
  globalThis.setTimeout = realSetTimeout;
};
beforeEach(() => {
  globalThis.setTimeout = (() => undefined) as unknown as typeof setTimeout;
});
afterEach(useRealTimers);

/** A server that answers on demand. */
function makeServer() {
  const batches: { items: readonly string[]; answer(error?: Error): Promise<void> }[] = [];
  const send = (items: readonly string[]) => {
    const { promise, resolve, reject } = Promise.withResolvers<readonly ItemOutcome<string>[]>();
    batches.push({
      items,
      async answer(error) {
        if (error === undefined) resolve(items.map(outcomeOf));
        else reject(error);
        // The queue continues in the first turn.
        await nextTurn();
        await nextTurn();
      },
    });
    return promise;
  };
  return { batches, send, sent: () => batches.map(({ items }) => items.join("")) };
}

function outcomeOf(item: string): ItemOutcome<string> {
  return item.startsWith("!") ? { ok: false, error: new Error(item) } : { ok: true, value: item.toUpperCase() };
}

test("a call is sent immediately if nothing is in flight, and those made meanwhile are sent together", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const results = ["a", "b", "c"].map((item) => queue.add(item, item, 1));
  assert.deepEqual(server.sent(), ["a"]);
  await server.batches[0]?.answer();
  assert.deepEqual(server.sent(), ["a", "bc"]);
  await server.batches[1]?.answer();
  assert.deepEqual(await Promise.all(results), ["A", "B", "C"]);
});

test("callers that get their answers together and call again are sent together", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const callers = ["a", "b", "c"].map(async (item) => {
    await queue.add(item, item, 1);
    // That many async functions may lie between the queue and the code that decides what to append next.
    for (let depth = 0; depth < 10; depth++) await undefined;
    await queue.add(item, item, 1);
  });
  await server.batches[0]?.answer();
  await server.batches[1]?.answer();
  assert.deepEqual(server.sent(), ["a", "bca", "bc"]);
  await server.batches[2]?.answer();
  await Promise.all(callers);
});

test("a batch respects its limits in number and size, and a larger item is sent alone", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const items = ["a", "b", "c", "d", "e", "f", "g", "h"];
  const sizes = [1, 1, 1, 1, 1, 60, 60, 1000];
  const results = items.map((item, index) => queue.add(item, item, sizes[index] ?? 1));
  for (let index = 0; index < 5; index++) await server.batches[index]?.answer();
  await Promise.all(results);
  assert.deepEqual(server.sent(), ["a", "bcde", "f", "g", "h"]);
});

test("each caller gets its own outcome, and a batch that failed as a whole fails all of its callers", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const settled = Promise.allSettled(["a", "b", "!c", "d"].map((item) => queue.add(item, item, 1)));
  await server.batches[0]?.answer(new Error("gone"));
  await server.batches[1]?.answer();
  assert.deepEqual(
    (await settled).map((one) => (one.status === "fulfilled" ? one.value : one.reason.message)),
    ["gone", "B", "!c", "D"],
  );
});

test("a signal cancels a call that has not been sent", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const abort = new AbortController();
  const results = Promise.allSettled([
    queue.add("a", "a", 1, abort.signal),
    queue.add("b", "b", 1, abort.signal),
    queue.add("c", "c", 1),
  ]);
  abort.abort(new Error("no more"));
  await server.batches[0]?.answer();
  await server.batches[1]?.answer();
  assert.deepEqual(
    (await results).map((one) => (one.status === "fulfilled" ? one.value : one.reason.message)),
    ["A", "no more", "C"],
  );
  assert.deepEqual(server.sent(), ["a", "c"]);
  await assert.rejects(queue.add("d", "d", 1, abort.signal), /no more/);
});

test("enough items for a batch of their own are sent concurrently, up to the limit", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, { ...bounds, worthSending: { count: 2, sizeBytes: 50 } });
  const items = ["a", "b", "c", "d", "e", "f", "g"];
  const sizes = [1, 1, 1, 1, 60, 1, 1];
  const results = items.map((item, index) => queue.add(item, item, sizes[index] ?? 1));
  assert.deepEqual(server.sent(), ["a", "bc", "de"]);
  await server.batches[1]?.answer();
  assert.deepEqual(server.sent(), ["a", "bc", "de", "fg"]);
  for (const batch of server.batches) await batch.answer();
  assert.deepEqual(await Promise.all(results), ["A", "B", "C", "D", "E", "F", "G"]);
});

/** @returns a function that adds an item, such as "a1" with the key "a", to a queue that sends everything at once */
function makeEagerQueue(server: ReturnType<typeof makeServer>) {
  const queue = new WorkQueue(server.send, { ...bounds, worthSending: { count: 1, sizeBytes: 1 } });
  return (item: string, signal?: AbortSignal) => queue.add(item.slice(0, 1), item, 1, signal);
}

test("items of one key wait for those before them, and others do not", async () => {
  const server = makeServer();
  const add = makeEagerQueue(server);
  const results = ["a1", "a2", "b1", "a3"].map((item) => add(item));
  assert.deepEqual(server.sent(), ["a1", "b1"]);
  await server.batches[0]?.answer();
  assert.deepEqual(server.sent(), ["a1", "b1", "a2a3"]);
  for (const batch of server.batches) await batch.answer();
  assert.deepEqual(await Promise.all(results), ["A1", "A2", "B1", "A3"]);
});

test("items of one key that do not fit into a batch follow it", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, { ...bounds, worthSending: { count: 5, sizeBytes: 2000 } });
  const items = ["x1", "a1", "a2", "a3", "a4", "a5", "b1", "c1", "d1", "e1", "f1"];
  const results = items.map((item) => queue.add(item.slice(0, 1), item, 1));
  assert.deepEqual(server.sent(), ["x1", "a1a2a3a4", "b1c1d1e1"]);
  for (let index = 0; index < 4; index++) await server.batches[index]?.answer();
  assert.deepEqual(server.sent().slice(3), ["f1a5"]);
  assert.deepEqual(
    await Promise.all(results),
    items.map((item) => item.toUpperCase()),
  );
});

test("a signal cancels a call that waits for another one of its key", async () => {
  const server = makeServer();
  const add = makeEagerQueue(server);
  const abort = new AbortController();
  const results = Promise.allSettled([add("a1"), add("a2", abort.signal), add("a3")]);
  abort.abort(new Error("no more"));
  for (let index = 0; index < 2; index++) await server.batches[index]?.answer();
  assert.deepEqual(server.sent(), ["a1", "a3"]);
  assert.deepEqual(
    (await results).map((one) => (one.status === "fulfilled" ? one.value : one.reason.message)),
    ["A1", "no more", "A3"],
  );
});

test("a stalled batch blocks items of its key, and nothing else", async () => {
  useRealTimers();
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const results = ["a1", "a2", "b1"].map((item) => queue.add(item.slice(0, 1), item, 1));
  while (server.batches.length < 2) await new Promise((done) => setTimeout(done, 5));
  assert.deepEqual(server.sent(), ["a1", "b1"]);
  await server.batches[0]?.answer();
  await server.batches[1]?.answer();
  assert.deepEqual(server.sent(), ["a1", "b1", "a2"]);
  await server.batches[2]?.answer();
  assert.deepEqual(await Promise.all(results), ["A1", "A2", "B1"]);
});

test("closing waits for the items that were added, and refuses new ones", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const results = ["a", "b"].map((item) => queue.add(item, item, 1));
  let isClosed = false;
  const closing = queue.close().then(() => {
    isClosed = true;
  });
  await assert.rejects(queue.add("c", "c", 1), /the event store is closed/);
  await server.batches[0]?.answer();
  assert.equal(isClosed, false);
  await server.batches[1]?.answer();
  await closing;
  assert.deepEqual(await Promise.all(results), ["A", "B"]);
});

test("a stalled batch no longer delays later ones", async () => {
  useRealTimers();
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const stalled = queue.add("a", "a", 1);
  const later = queue.add("b", "b", 1);
  while (server.batches.length < 2) await new Promise((done) => setTimeout(done, 5));
  await server.batches[1]?.answer();
  assert.equal(await later, "B");
  await server.batches[0]?.answer();
  assert.equal(await stalled, "A");
});

test("an item that fails with undefined fails, and one that succeeds with undefined succeeds", async () => {
  const queue = new WorkQueue<string, undefined>(async () => [{ ok: false, error: undefined }], bounds);
  assert.deepEqual(await Promise.allSettled([queue.add("a", "a", 1)]), [{ status: "rejected", reason: undefined }]);
  const other = new WorkQueue<string, undefined>(async () => [{ ok: true, value: undefined }], bounds);
  assert.deepEqual(await Promise.allSettled([other.add("a", "a", 1)]), [{ status: "fulfilled", value: undefined }]);
});

test("a caller whose signal is aborted after sending gets the outcome if it comes soon, or else the reason", async () => {
  const server = makeServer();
  const queue = new WorkQueue(server.send, bounds);
  const abort = new AbortController();
  const answered = queue.add("a", "a", 1, abort.signal);
  abort.abort(new Error("no more"));
  await server.batches[0]?.answer();
  assert.equal(await answered, "A");
  const late = new AbortController();
  const unanswered = queue.add("b", "b", 1, late.signal);
  late.abort(new Error("no more"));
  await assert.rejects(unanswered, /no more/);
  await server.batches[1]?.answer();
  await queue.close();
});
