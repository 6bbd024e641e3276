import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { answerUntilAborted, untilAborted, waitAtMost } from "../../scripts/lib/event-store/waiting.ts";

const never = new Promise<never>(() => {});

function pendingStatement() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const cancelled: number[] = [];
  return {
    statement: Object.assign(promise, { cancel: () => void cancelled.push(performance.now()) }),
    resolve,
    reject,
    cancelled,
  };
}

test("untilAborted() returns the result, and rejects with the reason of the signal even if it is aborted already", async () => {
  const reason = new Error("enough");
  assert.equal(await untilAborted(Promise.resolve(1), undefined), 1);
  assert.equal(await untilAborted(Promise.resolve(1), new AbortController().signal), 1);
  await assert.rejects(untilAborted(never, AbortSignal.abort(reason)), reason);
  const controller = new AbortController();
  const waiting = untilAborted(never, controller.signal);
  controller.abort(reason);
  await assert.rejects(waiting, reason);
});

test("untilAborted() gives the work its grace", async () => {
  const controller = new AbortController();
  const finishing = untilAborted(sleep(30, "done"), controller.signal, 10_000);
  const hanging = untilAborted(never, controller.signal, 60);
  controller.abort(new Error("enough"));
  assert.equal(await finishing, "done");
  await assert.rejects(hanging, /enough/);
});

test("a statement that still runs a second after its signal was aborted is cancelled", async () => {
  const controller = new AbortController();
  const { statement, cancelled, reject } = pendingStatement();
  const waiting = answerUntilAborted(statement, controller.signal);
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  assert.deepEqual(cancelled, [], "the caller does not wait until it is cancelled");
  while (cancelled.length === 0) await sleep(50);
  assert.equal(cancelled.length, 1);
  // Nobody waits for it any more, so this must not be an unhandled rejection.
  reject(new Error("canceling statement due to user request"));
});

test("a statement that ends soon after its signal was aborted is not cancelled", async () => {
  const controller = new AbortController();
  const { statement, cancelled, resolve } = pendingStatement();
  const waiting = answerUntilAborted(statement, controller.signal);
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  resolve("answer");
  await sleep(1_200);
  assert.deepEqual(cancelled, []);
});

test("waitAtMost() returns when the work ends, or after the limit", async () => {
  const startedAt = performance.now();
  await waitAtMost(60_000, sleep(1));
  await waitAtMost(20, never);
  assert.ok(performance.now() - startedAt < 10_000);
});
