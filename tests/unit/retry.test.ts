import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs, pollUntil, retry } from "../../scripts/lib/retry.ts";

test("pollUntil() probes at least once, and returns undefined once the time is over", async () => {
  let probes = 0;
  const probe = () => {
    probes++;
    return undefined;
  };
  assert.equal(await pollUntil(probe, { timeoutMs: 0, intervalMs: 1 }), undefined);
  assert.equal(probes, 1);
});

test("pollUntil() treats false and 0 as results", async () => {
  assert.equal(await pollUntil(() => false, { timeoutMs: 1000, intervalMs: 1 }), false);
  assert.equal(await pollUntil(async () => 0, { timeoutMs: 1000, intervalMs: 1 }), 0);
});

test("pollUntil() rejects with what the probe throws, and with the reason of its aborted signal", async () => {
  const failing = () => Promise.reject(new Error("broken"));
  await assert.rejects(pollUntil(failing, { timeoutMs: 1000, intervalMs: 1 }), /broken/);
  const signal = AbortSignal.abort(new Error("no longer needed"));
  await assert.rejects(
    pollUntil(() => undefined, { timeoutMs: 1000, intervalMs: 50, signal }),
    /no longer needed/,
  );
});

test("retry() passes the number of the attempt, and throws the last error when pauseMs returns undefined", async () => {
  const attempts: number[] = [];
  const work = async (attempt: number) => {
    attempts.push(attempt);
    throw new Error(`failed ${attempt}`);
  };
  await assert.rejects(retry(work, { pauseMs: (_error, attempt) => (attempt < 3 ? 0 : undefined) }), /failed 3/);
  assert.deepEqual(attempts, [1, 2, 3]);
});

test("retry() tries again after a rejection with undefined", async () => {
  const work = (attempt: number) => (attempt === 1 ? Promise.reject(undefined) : Promise.resolve("done"));
  assert.equal(await retry(work, { pauseMs: () => 0 }), "done");
});

test("backoffMs() doubles the pause up to the longest, and returns between half of it and all of it", () => {
  const bounds = { firstMs: 10, maxMs: 100 };
  for (const [attempt, fullMs] of [
    [1, 10],
    [2, 20],
    [4, 80],
    [5, 100],
    [5000, 100],
  ] as const) {
    for (let round = 0; round < 50; round++) {
      const pauseMs = backoffMs(attempt, bounds);
      assert.ok(pauseMs >= fullMs / 2 && pauseMs <= fullMs, `${pauseMs} of ${fullMs}`);
    }
  }
});
