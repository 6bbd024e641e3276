import assert from "node:assert/strict";
import { test } from "node:test";
import { fillLargeEvents } from "../../scripts/lib/event-store/large-events.ts";

interface Size {
  readonly storedBytes: number;
  readonly textBytes: number;
}

/** Fills events of the given sizes. @returns how many were filled, the bytes of each group, and the data */
async function fill(sizes: readonly Size[]) {
  const filled: unknown[] = [];
  const groups: number[] = [];
  const events = sizes.map(({ storedBytes }, index) => ({
    position: BigInt(index),
    storedBytes,
    fill: (data: unknown) => filled.push(data),
  }));
  const count = await fillLargeEvents(events, async (positions) => {
    const indexes = positions.slice(1, -1).split(",").map(Number);
    groups.push(indexes.reduce((sum, index) => sum + (sizes[index]?.textBytes ?? 0), 0));
    return indexes
      .map((index) => [BigInt(index), JSON.stringify("x".repeat((sizes[index]?.textBytes ?? 2) - 2))])
      .toReversed();
  });
  return { count, groups, filled };
}

const mib = 1024 * 1024;

test("a page gets at least one large event, and no more once it is large enough", async () => {
  const { count, filled } = await fill(Array(50).fill({ storedBytes: 10 * mib, textBytes: 10 * mib }));
  assert.deepEqual([count, filled.length], [1, 1]);
  const medium = await fill(Array(50).fill({ storedBytes: mib, textBytes: mib }));
  assert.deepEqual([medium.count, medium.groups], [8, Array(8).fill(mib)]);
});

test("moderately large events are fetched in few groups", async () => {
  const { count, groups } = await fill(Array(200).fill({ storedBytes: 10_000, textBytes: 30_000 }));
  assert.equal(count, 200);
  assert.ok(groups.length <= 4, `${groups.length} groups`);
});

test("data that is compressed well does not make a page much larger", async () => {
  const { count, groups } = await fill(Array(400).fill({ storedBytes: 12_000, textBytes: mib }));
  assert.ok(count >= 8 && count <= 16, `${count} events`);
  assert.ok(groups.every((bytes) => bytes <= 8 * mib));
  const mixed = [
    ...Array(100).fill({ storedBytes: 10_000, textBytes: 10_000 }),
    ...Array(400).fill({ storedBytes: 12_000, textBytes: mib }),
  ];
  assert.ok((await fill(mixed)).groups.every((bytes) => bytes <= 100 * mib));
});

test("each event gets its own data, in whatever order they arrive", async () => {
  const sizes = Array.from({ length: 30 }, (_, index) => ({ storedBytes: 9_000, textBytes: 10 + index }));
  const { filled } = await fill(sizes);
  assert.deepEqual(
    filled.map((data) => String(data).length),
    sizes.map(({ textBytes }) => textBytes - 2),
  );
});
