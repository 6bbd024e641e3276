import assert from "node:assert/strict";
import { test } from "node:test";
import { explore } from "../support/explorer.ts";
import { type Case, type Fault, type Horizon, horizonModel } from "../support/horizon-model.ts";
import { testRounds } from "../support/runtime.ts";

/** The horizon of event_store.safe_position() and event_store.read_all(). */
const visiblePosition: Horizon = {
  steps: ["read last", "read floors", "find", "read"],
  answer: (bound, visible, known) =>
    Math.max(known.answer, ...visible.filter((position) => position > known.bound && position <= bound)),
  knownTo: "session",
};
const unremembered: Horizon = { ...visiblePosition, knownTo: "nobody" };

const start = ["read last", "publish floor", "draw"] as const;
const end = ["commit", "become visible", "release floor"] as const;
const oneEvent = [...start, ...end] as const;
const twoEvents = [...start, "draw", ...end] as const;
const startsAgain = [...start, "roll back to savepoint", ...oneEvent] as const;
const publishesLate = ["read last", "draw", "publish floor", ...end] as const;

const twoWriters: Case = {
  horizon: visiblePosition,
  writers: [twoEvents, oneEvent],
  polls: 1,
  crashes: 1,
  synchronousCommit: "on",
  checks: "nothing",
};
const withoutCrash: Case = { ...twoWriters, crashes: 0 };
const threeWriters: Case = { ...twoWriters, writers: [oneEvent, oneEvent, oneEvent] };
const readsInside: Case = { ...twoWriters, writers: [startsAgain, oneEvent], readsInside: true };

/** Three at a time have five times as many states, which a soak visits. */
const atOnce = testRounds(1) > 1 ? 3 : 2;

// After its polls, the reader reads what is left. So with two polls it reads three times.
const safe: Readonly<Record<string, Case>> = {
  "two writers, a crash, two polls": { ...twoWriters, polls: 2 },
  "two writers and two crashes": { ...twoWriters, writers: [oneEvent, oneEvent], crashes: 2 },
  [`three writers, ${atOnce} at a time, and a crash`]: { ...threeWriters, atOnce },
  "pages of one event": { ...twoWriters, pageSize: 1 },
  "a savepoint that is rolled back, and a reader inside the transaction": { ...readsInside, polls: 2 },
  "a session that remembers nothing": { ...twoWriters, horizon: unremembered },
  "a reader that checks its checkpoint, without a false alarm": { ...twoWriters, checks: "the event" },
};

for (const [name, model] of Object.entries(safe)) {
  test(`no interleaving misses, repeats or disorders an event: ${name}`, () => {
    const { states, fault, story } = explore(horizonModel(model));
    assert.equal(fault, undefined, story.join("\n"));
    assert.ok(states > 3000, `${states} states`);
  });
}

interface Refutation {
  readonly model: Case;
  readonly fault: Fault;
  /** The shortest interleaving with this fault. */
  readonly story: readonly string[];
}

const greatest = (positions: readonly number[]) => Math.max(0, ...positions);

const refuted: Readonly<Record<string, Refutation>> = {
  "the bound itself": {
    model: { ...twoWriters, horizon: { ...unremembered, answer: (bound) => bound } },
    fault: "missed",
    story: [
      "writer 1: read last, publish floor, draw 1, draw 2, roll back",
      "reader: read last, read floors, find 2, read",
      "crash: 0 commits lost, last is 0",
      "writer 2: read last, publish floor, draw 1, commit, become visible, release floor",
    ],
  },
  "least(bound, max(global_position)), where max is null on an empty log": {
    model: {
      ...twoWriters,
      horizon: {
        ...unremembered,
        answer: (bound, visible) => (visible.length === 0 ? bound : Math.min(bound, greatest(visible))),
      },
    },
    fault: "missed",
    story: [
      "writer 1: read last, publish floor, draw 1, draw 2, roll back",
      "reader: read last, read floors, find 2, read",
      "crash: 0 commits lost, last is 0",
      "writer 2: read last, publish floor, draw 1, commit, become visible, release floor",
    ],
  },
  "least(bound, coalesce(max(global_position), 0)), where max is a row of the own transaction": {
    model: {
      ...readsInside,
      horizon: { ...unremembered, answer: (bound, visible) => Math.min(bound, greatest(visible)) },
    },
    fault: "missed",
    story: [
      "writer 1: read last, publish floor, draw 1, roll back to savepoint, read last, publish floor, draw 2",
      "reader in writer 1: read last, read floors, find 1, read",
      "crash: 0 commits lost, last is 0",
      "writer 2: read last, publish floor, draw 1, commit, become visible, release floor",
    ],
  },
  "max(global_position) without floors": {
    model: { ...withoutCrash, horizon: { ...unremembered, answer: (_, visible) => greatest(visible) } },
    fault: "missed",
    story: [
      "writer 1: read last, publish floor, draw 1, draw 2, commit",
      "writer 2: read last, publish floor, draw 3, commit, become visible, release floor",
      "reader: read last, read floors, find 3, read",
      "writer 1: become visible, release floor",
    ],
  },
  "max(global_position) inside a transaction that has appended": {
    model: { ...readsInside, crashes: 0, horizon: { ...unremembered, answer: (_, visible) => greatest(visible) } },
    fault: "vanished unnoticed",
    story: [
      "writer 2: read last, publish floor, draw 1",
      "reader in writer 2: read last, read floors, find 1, read",
      "writer 2: roll back",
    ],
  },
  "a bound asked for by the statement that reads, whose snapshot is older": {
    model: {
      ...withoutCrash,
      horizon: {
        ...unremembered,
        steps: ["take snapshot", "read last", "read floors", "find", "read in old snapshot"],
      },
    },
    fault: "missed",
    story: [
      "writer 2: read last, publish floor, draw 1, commit",
      "reader: take snapshot",
      "writer 2: become visible, release floor",
      "reader: read last, read floors, find 1, read in old snapshot",
    ],
  },
  "floors read before the last position": {
    model: { ...withoutCrash, horizon: { ...unremembered, steps: ["read floors", "read last", "find", "read"] } },
    fault: "missed",
    story: [
      "writer 1: read last",
      "writer 2: read last",
      "reader: read floors",
      "writer 1: publish floor, draw 1, draw 2, commit",
      "writer 2: publish floor, draw 3, commit, become visible, release floor",
      "reader: read last, find 3, read",
      "writer 1: become visible, release floor",
    ],
  },
  "a floor published after drawing": {
    model: { ...withoutCrash, writers: [publishesLate, oneEvent], horizon: unremembered },
    fault: "missed",
    story: [
      "writer 1: read last, draw 1",
      "writer 2: read last, publish floor, draw 2, commit, become visible, release floor",
      "reader: read last, read floors",
      "writer 1: publish floor, commit",
      "reader: find 2, read",
      "writer 1: become visible, release floor",
    ],
  },
  "a remembered bound with the answer of an older snapshot": {
    model: {
      ...withoutCrash,
      horizon: {
        ...visiblePosition,
        steps: ["take snapshot", "read last", "read floors", "find in old snapshot", "read"],
      },
    },
    fault: "missed",
    story: [
      "writer 2: read last, publish floor, draw 1, commit",
      "reader: take snapshot",
      "writer 2: become visible, release floor",
      "reader: read last, read floors, find in old snapshot 0, read",
    ],
  },
  "a bound remembered longer than the session": {
    model: { ...twoWriters, horizon: { ...visiblePosition, knownTo: "process" } },
    fault: "missed",
    story: [
      "writer 1: read last, publish floor, draw 1, draw 2, roll back",
      "reader: read last, read floors, find 0",
      "crash: 0 commits lost, last is 0",
      "writer 2: read last, publish floor, draw 1, commit, become visible, release floor",
    ],
  },
};

for (const [name, { model, fault, story }] of Object.entries(refuted)) {
  test(`an interleaving refutes ${name}`, () => {
    const found = explore(horizonModel(model));
    assert.deepEqual({ fault: found.fault, story: found.story }, { fault, story });
  });
}

const asynchronous: Case = { ...twoWriters, synchronousCommit: "off", checks: "the event" };

test("with synchronous_commit off, a reader misses no event or notices that the one at its checkpoint is gone", () => {
  for (const model of [
    { ...asynchronous, polls: 2 },
    { ...asynchronous, writers: [oneEvent, startsAgain] },
  ]) {
    const { fault, story } = explore(horizonModel(model), ["vanished unnoticed"]);
    assert.equal(fault, undefined, story.join("\n"));
  }
});

test("with synchronous_commit off, comparing the checkpoint with the last position is not enough", () => {
  const model: Case = { ...asynchronous, checks: "the last position" };
  const { fault, story } = explore(horizonModel(model), ["vanished unnoticed"]);
  assert.equal(fault, "missed");
  assert.deepEqual(story, [
    "writer 1: read last, publish floor, draw 1, draw 2, commit, become visible, release floor",
    "reader: read last, read floors, find 2, read",
    "crash: 1 commits lost, last is 1",
    "writer 2: read last, publish floor, draw 2, commit, become visible, release floor",
  ]);
});

test("with synchronous_commit off, an event below the checkpoint can vanish unnoticed", () => {
  const { fault, story } = explore(horizonModel(asynchronous));
  assert.equal(fault, "vanished unnoticed");
  assert.deepEqual(story, [
    "writer 1: read last, publish floor, draw 1, draw 2",
    "writer 2: read last, publish floor, draw 3, commit",
    "writer 1: commit, become visible, release floor",
    "writer 2: become visible, release floor",
    "reader: read last, read floors, find 3, read",
    "crash: 1 commits lost, last is 3",
  ]);
});
