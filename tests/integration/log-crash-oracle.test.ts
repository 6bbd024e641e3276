// Power cuts at random moments under load, with consumers outside the database whose checkpoints survive them.
//
// Two cuts with each setting of synchronous_commit, 20 in a soak.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { quoteIdentifier } from "../../scripts/lib/postgres/quote.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { random } from "../support/chaos.ts";
import { byReadAll, byReader, bySubscription, horizonReader, LogFollower } from "../support/log-follower.ts";
import { completeReader, plainReader, readStored } from "../support/log-oracle.ts";
import { makeOutcomes, type Outcomes, write } from "../support/log-writers.ts";
import { cutPower, holdFlushes } from "../support/power-cut.ts";
import { testRounds } from "../support/runtime.ts";
import { type TestStack, withCluster } from "../support/stack.ts";

const rounds = testRounds(2);
const types = ["A", "B"];
const patienceMs = 60_000;
const flawless = { missed: 0, duplicates: 0, outOfStreamOrder: 0, vanished: 0 };

test("power cuts make no reader miss, repeat, reorder or imagine an event if commits are synchronous", async () => {
  await using stack = await withCluster();
  const target = await stack.application();
  const followers = {
    ...makeFollowers(target),
    plain: new LogFollower({ target, begin: byReader(plainReader) }),
    horizon: new LogFollower({ target, begin: byReader(horizonReader) }),
  };
  const { outcomes } = await underLoad({ stack, followers: Object.values(followers) }, cutAtRandom);
  const stored = new Set((await readStored(target)).map(({ id }) => id));
  assert.ok(outcomes.acknowledged.size >= 60 * rounds && outcomes.takenBack.size > 0);
  assert.deepEqual(
    [...outcomes.acknowledged].filter((id) => !stored.has(id)),
    [],
  );
  assert.deepEqual(
    [...outcomes.takenBack].filter((id) => stored.has(id)),
    [],
  );
  await assertFlawless(followers, 0);
});

test("readers notice each power cut that loses events of asynchronous commits that they have seen", async () => {
  await using stack = await withCluster();
  await using admin = openConnection(await stack.administrator());
  await admin.sql.unsafe(
    `alter database ${quoteIdentifier((await stack.administrator()).database)} set synchronous_commit = off`,
  );
  const target = await stack.application();
  const followers = makeFollowers(target);
  const resting = new LogFollower({ target, begin: byReadAll() });
  const ahead = Object.values(followers);
  await underLoad({ stack, followers: [...ahead, resting] }, (load, round) =>
    cutWithLosses(load, round, ahead, resting),
  );
  await assertFlawless(followers, rounds);
  await assertFlawless({ resting }, 0);
});

function makeFollowers(target: ConnectionTarget): Record<string, LogFollower> {
  return {
    subscription: new LogFollower({ target, begin: bySubscription() }),
    filtered: new LogFollower({ target, types, begin: bySubscription({ eventTypes: types }) }),
    pages: new LogFollower({ target, begin: byReader(completeReader) }),
    all: new LogFollower({ target, begin: byReadAll() }),
    filteredAll: new LogFollower({ target, types, begin: byReadAll({ eventTypes: types }) }),
  };
}

async function assertFlawless(followers: Readonly<Record<string, LogFollower>>, noticed: number): Promise<void> {
  for (const [name, follower] of Object.entries(followers)) {
    const { stored, ...verdict } = await follower.judge();
    assert.deepEqual(
      { ...verdict, noticed: follower.noticed, falseAlarms: follower.falseAlarms },
      { ...flawless, noticed, falseAlarms: 0 },
      name,
    );
    assert.ok(stored > 0);
  }
}

/** Writers and followers at work. */
interface Load {
  readonly stack: TestStack;
  readonly followers: readonly LogFollower[];
  readonly outcomes: Outcomes;
  isTakingBack: boolean;
}

/** Cuts the power several times under load, then waits until the followers have caught up. */
async function underLoad(
  { stack, followers }: Pick<Load, "stack" | "followers">,
  cut: (load: Load, round: number) => Promise<void>,
): Promise<Load> {
  const load: Load = { stack, followers, outcomes: makeOutcomes(), isTakingBack: false };
  let isDone = false;
  const writing = write({
    target: await stack.application(),
    writers: 4,
    outcomes: load.outcomes,
    isDone: () => isDone,
    isTakingBack: () => load.isTakingBack,
  });
  for (const follower of followers) follower.start();
  try {
    for (let round = 0; round < rounds; round++) await cut(load, round);
  } finally {
    isDone = true;
    await writing;
    const stored = await readStored(await stack.application());
    await waitUntil(async () => followers.every((follower) => follower.hasCaughtUp(stored)));
    await Promise.all(followers.map((follower) => follower.stop()));
  }
  return load;
}

/** Half of the time, the last positions before the cut are those of transactions that are rolled back. */
async function cutAtRandom(load: Load, round: number): Promise<void> {
  const { stack, followers, outcomes } = load;
  await grows(outcomes.acknowledged, 60);
  await sleep(random(50));
  if (round % 2 === 0) {
    await cutPower(stack);
  } else {
    await using admin = openConnection(await stack.administrator());
    await using _hold = await holdFlushes(admin.sql);
    load.isTakingBack = true;
    await grows(outcomes.takenBack, 60);
    await sleep(random(50));
    await cutPower(stack);
    load.isTakingBack = false;
  }
  // Half of the consumers are started again, from the checkpoint that they have stored.
  const restarted = followers.filter((_follower, index) => index % 2 === round % 2);
  await Promise.all(restarted.map((follower) => follower.stop()));
  for (const follower of restarted) follower.start();
}

/**
 * The followers see events that are lost, all but the one that rests meanwhile. Half of the time, they read again only
 * after other events have taken the positions.
 */
async function cutWithLosses(load: Load, round: number, ahead: readonly LogFollower[], resting: LogFollower) {
  const { stack } = load;
  await grows(load.outcomes.acknowledged, 60);
  await resting.stop();
  const noticed = ahead.map((follower) => follower.noticed);
  await using admin = openConnection(await stack.administrator());
  await using _hold = await holdFlushes(admin.sql);
  await seeLostEvents(load, ahead);
  if (round % 2 === 0) {
    await cutPower(stack);
  } else {
    for (const follower of ahead) await follower.stop();
    const drawn = await lastDrawn(admin.sql);
    await cutPower(stack);
    await waitUntil(async () => (await lastDrawn(admin.sql)) > drawn);
    for (const follower of ahead) follower.start();
  }
  resting.start();
  await waitUntil(async () => ahead.every((follower, index) => follower.noticed > (noticed[index] ?? 0)));
}

async function seeLostEvents({ outcomes }: Load, ahead: readonly LogFollower[]): Promise<void> {
  await grows(outcomes.acknowledged, 60);
  const maybeFlushed = new Set(outcomes.acknowledged);
  const isLost = (id = "") => outcomes.acknowledged.has(id) && !maybeFlushed.has(id);
  await waitUntil(async () => ahead.every(({ last }) => isLost(last)));
  await sleep(random(50));
}

async function lastDrawn(admin: Sql): Promise<bigint> {
  const [{ position }] = await admin<[{ position: bigint }]>`select event_store.last_drawn_position() as position`;
  return position;
}

async function grows(ids: ReadonlySet<string>, count: number): Promise<void> {
  const enough = ids.size + count;
  await waitUntil(async () => ids.size >= enough);
}

/** Gives up after a while: what is asserted then says what is missing. */
async function waitUntil(isTrue: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + patienceMs;
  while (!(await isTrue()) && Date.now() < end) await sleep(10);
}
