import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Turns } from "../../scripts/lib/event-store/turns.ts";

const long = { turnMs: 60_000 };

/** Work that begins when its turn comes, and ends on demand. */
function makeWork(name: string, begun: string[]) {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const work = () => {
    begun.push(name);
    return promise;
  };
  return { work, end: () => resolve(name), fail: reject };
}

test("work on one key takes turns in the order of the calls, and other keys do not wait", async () => {
  const [turns, begun] = [new Turns(), [] as string[]];
  const [a, b, c, other] = ["a", "b", "c", "other"].map((name) => makeWork(name, begun)) as ReturnType<
    typeof makeWork
  >[];
  const results = [a, b, c].map((work) => turns.take("key", work?.work as () => Promise<string>, long));
  const others = turns.take("another key", other?.work as () => Promise<string>, long);
  await nextTurn();
  assert.deepEqual(begun, ["a", "other"]);
  other?.end();
  assert.equal(await others, "other");
  a?.fail(new Error("no"));
  await assert.rejects(results[0] as Promise<string>, /no/);
  await nextTurn();
  assert.deepEqual(begun, ["a", "other", "b"]);
  b?.end();
  c?.end();
  assert.deepEqual(await Promise.all(results.slice(1)), ["b", "c"]);
});

test("an aborted wait ends with the reason of the signal, and those behind it keep their order", async () => {
  const [turns, begun] = [new Turns(), [] as string[]];
  const [first, aborted, last] = ["first", "aborted", "last"].map((name) => makeWork(name, begun)) as [
    ReturnType<typeof makeWork>,
    ReturnType<typeof makeWork>,
    ReturnType<typeof makeWork>,
  ];
  const controller = new AbortController();
  const reason = new Error("enough");
  const running = turns.take("key", first.work, long);
  const waiting = turns.take("key", aborted.work, { ...long, signal: controller.signal });
  const behind = turns.take("key", last.work, long);
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  await nextTurn();
  assert.deepEqual(begun, ["first"]);
  first.end();
  last.end();
  assert.deepEqual(await Promise.all([running, behind]), ["first", "last"]);
  assert.deepEqual(begun, ["first", "last"]);
});

test("work that hangs keeps others waiting only for the length of a turn", async () => {
  const [turns, begun] = [new Turns(), [] as string[]];
  const [hung, next] = [makeWork("hung", begun), makeWork("next", begun)];
  const hanging = turns.take("key", hung.work, { turnMs: 1 });
  next.end();
  assert.equal(await turns.take("key", next.work, long), "next");
  hung.end();
  assert.equal(await hanging, "hung");
});
