import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { InvalidInput } from "../../scripts/lib/event-store/errors.ts";
import type { ProjectionDefinition } from "../../scripts/lib/event-store/projection/definition.ts";
import { readProjectionLag } from "../../scripts/lib/event-store/projection/progress.ts";
import { project } from "../../scripts/lib/event-store/projection/project.ts";
import { ProjectionRunning, planRemoval, removeProjection } from "../../scripts/lib/event-store/projection/remove.ts";
import type { EventStore } from "../../scripts/lib/event-store/store.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { newOrder, type OrderEvent, openTestStore, orderPlaced } from "../support/event-store.ts";
import {
  checkJournal,
  eventually,
  journal,
  readDeadLetters,
  readJournal,
  runInBackground,
} from "../support/projection.ts";

let database: TestDatabase;
let plain: EventStore;
before(async () => {
  database = await withDatabase();
  plain = openTestStore(database);
});
after(async () => {
  await plain[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

type Definition = ProjectionDefinition<OrderEvent>;

function journalOf(name: string, version = 1): Definition {
  return { ...journal(name, version), events: [name as "OrderPlaced"] };
}

function inline(...inlineProjections: readonly Definition[]): EventStore {
  return openTestStore(database, { inlineProjections });
}

async function append(store: EventStore, type: string, order = newOrder()): Promise<void> {
  await appendEvents(store, order, [{ type, data: {} }]);
}

function catchUp(definition: Definition, store = plain) {
  return project(store, { ...definition, stopWhenCaughtUp: true });
}

/** Lets the heartbeats of the stores that ran it inline expire, as if they had been gone for 15 seconds. */
async function expireHeartbeat(name: string): Promise<void> {
  await plain.sql`
    update read_model.projection_version set expires_at = clock_timestamp() - interval '1 s'
    where name = ${name} and owner = 'inline'`;
}

/** Lets the heartbeats of stores expire that are open and send others, until a condition holds. */
async function expireUntil(name: string, holds: () => Promise<boolean>): Promise<void> {
  await eventually(async () => {
    await expireHeartbeat(name);
    return await holds();
  });
}

async function ownerOf(name: string): Promise<string | null | undefined> {
  return (await readProjectionLag(plain)).find((lag) => lag.name === name)?.owner;
}

/** @returns the versions in a journal, of all streams */
async function versionsIn(name: string): Promise<number[]> {
  return [...(await readJournal(plain, name)).values()].flat();
}

function cannot(why: RegExp) {
  return (error: unknown) => error instanceof InvalidInput && why.test(error.message);
}

test("a projection that has not handled stored events cannot run inline, and leaves nothing behind", async () => {
  await append(plain, "unbuilt");
  await using store = inline(journalOf("unbuilt"));
  const why =
    /cannot run inline: it has not handled 1 event in the log\. Run it with project\(\) until it has caught up/;
  await assert.rejects(append(store, "unbuilt"), cannot(why));
  await assert.rejects(
    store.transaction((tx) => appendEvents(store, newOrder(), [{ type: "unbuilt", data: {} }], { transaction: tx })),
    cannot(why),
  );
  assert.equal(await ownerOf("unbuilt"), undefined);
  // The same store continues once the projection has caught up.
  await catchUp(journalOf("unbuilt"));
  await append(store, "unbuilt");
  assert.equal((await versionsIn("unbuilt")).length, 2);
});

test("a refused projection does not keep other appends from the log", async () => {
  await append(plain, "refused");
  await using store = inline(journalOf("refused"), journalOf("accepted"));
  const order = newOrder();
  const outcomes = await Promise.allSettled([
    append(store, "refused", order),
    append(store, "unhandled", order),
    append(store, "accepted"),
    append(store, "refused"),
  ]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["rejected", "fulfilled", "fulfilled", "rejected"],
  );
});

test("from asynchronous to inline and back, every event is handled once", async () => {
  const definition = journalOf("switched");
  const order = newOrder();
  for (let round = 0; round < 3; round++) {
    await append(plain, "switched", order);
    await catchUp(definition);
    {
      await using store = inline(definition);
      await Promise.all(Array.from({ length: 5 }, () => append(store, "switched", order)));
      assert.equal(await ownerOf("switched"), "inline");
    }
    await expireHeartbeat("switched");
  }
  await append(plain, "switched", order);
  await catchUp(definition);
  assert.equal(await ownerOf("switched"), null);
  assert.deepEqual([...(await readJournal(plain, "switched")).values()], [Array.from({ length: 19 }, (_, i) => i + 1)]);
});

test("once the last store is closed, project() soon takes over", async () => {
  const definition = journalOf("closed");
  const leaseMs = async () => {
    const [row] = await plain.sql<{ ms: number }[]>`
      select extract(epoch from expires_at - clock_timestamp())::float8 * 1000 as ms
      from read_model.projection_version where name = 'closed'`;
    return row?.ms ?? 0;
  };
  const runInline = async () => {
    await using store = inline(definition);
    await append(store, "closed");
    assert.ok((await leaseMs()) > 10_000);
  };
  await runInline();
  assert.ok((await leaseMs()) < 5_000);
  await using last = inline(definition);
  await append(last, "closed");
  await runInline();
  // The other store still runs it.
  await eventually(async () => (await leaseMs()) > 10_000);
  await last[Symbol.asyncDispose]();
  await catchUp(definition);
  assert.equal((await versionsIn("closed")).length, 3);
});

test("events that bypassed an inline projection keep it from running inline again, until project() handles them", async () => {
  const definition = journalOf("unnoticed");
  {
    await using store = inline(definition);
    await append(store, "unnoticed");
  }
  const lagEvents = async () => (await readProjectionLag(plain)).find(({ name }) => name === "unnoticed")?.lagEvents;
  assert.equal(await lagEvents(), 0);
  await append(plain, "unrelated");
  assert.equal(await lagEvents(), 0);
  await append(plain, "unnoticed");
  assert.equal(await lagEvents(), 1);
  // Both while the last heartbeat is valid, and after it.
  for (let round = 0; round < 2; round++) {
    await using store = inline(definition);
    await assert.rejects(append(store, "unnoticed"), cannot(/it has not handled 1 event/));
    await expireHeartbeat("unnoticed");
  }
  await catchUp(definition);
  await using store = inline(definition);
  await append(store, "unnoticed");
  assert.equal((await versionsIn("unnoticed")).length, 3);
});

test("project() waits while stores run the projection inline, and continues after them", async () => {
  const definition = journalOf("standby");
  const logged: string[] = [];
  const logger = { info: (message: string) => void logged.push(message), warn() {} };
  await using other = openTestStore(database, { logger });
  let run: ReturnType<typeof runInBackground<OrderEvent>>;
  {
    await using store = inline(definition);
    await append(store, "standby");
    run = runInBackground(other, { ...definition, leaseMs: 1_000 });
    await eventually(() => logged.some((message) => /standby: open event stores run it inline/.test(message)));
    await append(store, "standby");
  }
  await using _run = run;
  await expireHeartbeat("standby");
  await append(plain, "standby");
  await eventually(async () => (await versionsIn("standby")).length === 3);
});

test("an append in flight holds up the process that takes over, which then does not repeat it", async () => {
  const definition = journalOf("inflight");
  await using store = inline(definition);
  await append(store, "inflight");
  let run: Promise<unknown> | undefined;
  let isOver = false;
  await store.transaction(async (tx) => {
    await appendEvents(store, newOrder(), [{ type: "inflight", data: {} }], { transaction: tx });
    run = catchUp(definition).finally(() => {
      isOver = true;
    });
    await expireUntil("inflight", isLocked);
  });
  await expireUntil("inflight", async () => isOver);
  await run;
  assert.equal((await versionsIn("inflight")).length, 2);
});

async function isLocked(): Promise<boolean> {
  const [row] = await database.admin<{ waiting: boolean }[]>`
    select count(*) > 0 as waiting from pg_stat_activity
    where datname = current_database() and wait_event = 'advisory'`;
  return row?.waiting === true;
}

test("a transaction that appends inside and outside of it does not wait for a cut-over that waits for it", async () => {
  await using store = inline(journalOf("crossed"));
  let run: Promise<unknown> | undefined;
  await store.transaction(async (tx) => {
    await appendEvents(store, newOrder(), [{ type: "crossed", data: {} }], { transaction: tx });
    run = catchUp(journalOf("crossed", 2));
    await eventually(isLocked);
    await append(store, "crossed");
  });
  await run;
  assert.equal((await versionsIn("crossed")).length, 2);
});

test("once project() has taken over, an inline append is refused instead of being left out or repeated", async () => {
  const definition = journalOf("taken");
  await using store = inline(definition);
  await append(store, "taken");
  {
    await using _run = runInBackground(plain, definition);
    await expireUntil("taken", async () => ![null, undefined, "inline"].includes(await ownerOf("taken")));
    await assert.rejects(
      append(store, "taken"),
      cannot(/cannot run inline: project\(\) runs it \(.+\)\. Stop that run/),
    );
    await assert.rejects(
      store.transaction((tx) => appendEvents(store, newOrder(), [{ type: "taken", data: {} }], { transaction: tx })),
      cannot(/project\(\) runs it/),
    );
    await append(plain, "taken");
    await eventually(async () => (await versionsIn("taken")).length === 2);
  }
  // It is inline again as soon as that run has ended.
  await append(store, "taken");
  assert.deepEqual([(await versionsIn("taken")).length, await ownerOf("taken")], [3, "inline"]);
});

test("a version that project() builds replaces an inline one, whose appends are then refused", async () => {
  await using store = inline(journalOf("rebuilt"));
  const orders = Array.from({ length: 5 }, newOrder);
  for (const order of orders) for (let index = 0; index < 3; index++) await append(store, "rebuilt", order);
  const before = await readJournal(plain, "rebuilt");
  assert.equal(await catchUp(journalOf("rebuilt", 2)), "caught-up");
  assert.deepEqual(await readJournal(plain, "rebuilt"), before);
  await assert.rejects(
    append(store, "rebuilt"),
    cannot(/version 1 .* cannot run inline: a later version has replaced it/),
  );
  await using next = inline(journalOf("rebuilt", 2));
  await append(next, "rebuilt");
  assert.equal((await versionsIn("rebuilt")).length, 16);
});

test("appends that race with a cut-over are handled by one version or refused", async () => {
  const own = await withDatabase();
  await using _own = own;
  await using store = openTestStore(own, { inlineProjections: [journal("raced")] });
  await using other = openTestStore(own);
  let stored = 0;
  let isOver = false;
  const writers = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      try {
        await appendEvents<OrderEvent>(store, newOrder(), [orderPlaced]);
        stored++;
      } catch (error) {
        assert.ok(error instanceof InvalidInput, String(error));
        return;
      }
    }
  });
  await eventually(() => stored > 50);
  await project(other, { ...journal("raced", 2), stopWhenCaughtUp: true });
  isOver = true;
  await Promise.all(writers);
  await checkJournal(other, "raced");
  assert.equal([...(await readJournal(other, "raced")).values()].length, stored);
});

test("a new version cannot run inline before it is built", async () => {
  await using store = inline(journalOf("early"));
  await append(store, "early");
  await using next = inline(journalOf("early", 2));
  await assert.rejects(
    append(next, "early"),
    cannot(/version 1 still serves\. Run it with project\(\) until it serves/),
  );
  await append(store, "early");
});

test("stores that register a new projection at once do not collide", async () => {
  const stores = Array.from({ length: 6 }, () => inline(journalOf("together")));
  await Promise.all(stores.flatMap((store) => Array.from({ length: 5 }, () => append(store, "together"))));
  for (const store of stores) await store[Symbol.asyncDispose]();
  assert.equal((await versionsIn("together")).length, 30);
});

test("a projection does not become inline while an append that bypasses it is in flight", async () => {
  const definition = journalOf("bypassed");
  let attempts = 0;
  const create: NonNullable<Definition["relations"]>["create"] = async (tx) => {
    attempts++;
    await definition.relations?.create(tx);
  };
  await using store = inline({ ...definition, relations: { names: ["journal_bypassed"], create } });
  let first: Promise<void> | undefined;
  await plain.transaction(async (tx) => {
    await appendEvents(plain, newOrder(), [{ type: "bypassed", data: {} }], { transaction: tx });
    first = append(store, "bypassed");
    first.catch(() => undefined);
    // The second attempt shows that the first one was given up.
    await Promise.race([first, eventually(() => attempts > 1)]);
  });
  await assert.rejects(first as Promise<void>, cannot(/it has not handled 1 event/));
});

test("other events in flight in the caller's own transaction do not delay a new projection", async () => {
  await using store = inline(journalOf("later"));
  await store.transaction(async (tx) => {
    await appendEvents(store, newOrder(), [{ type: "unrelated", data: {} }], { transaction: tx });
    await appendEvents(store, newOrder(), [{ type: "later", data: {} }], { transaction: tx });
  });
  assert.equal((await versionsIn("later")).length, 1);
});

test("a projection with dead letters cannot run inline until they are replayed", async () => {
  const definition = journalOf("dead");
  await append(plain, "dead");
  const handle = () => Promise.reject(new Error("no"));
  await project(plain, { ...definition, handle, maxAttempts: 1, stopWhenCaughtUp: true });
  assert.equal((await readDeadLetters(plain, "dead")).length, 1);
  await using store = inline(definition);
  await assert.rejects(append(store, "dead"), cannot(/it has dead letters\. Replay them first/));
});

test("a projection whose events have changed cannot run inline under the same version", async () => {
  {
    await using store = inline(journalOf("narrow"));
    await append(store, "narrow");
  }
  await using store = inline({ ...journalOf("narrow"), events: ["narrow", "wide"] as never });
  await assert.rejects(
    append(store, "wide"),
    cannot(/began with the events "narrow", but now handles .*"wide": raise its/),
  );
});

test("an inline projection is removed once no store runs it", async () => {
  {
    await using store = inline(journalOf("removed"));
    await append(store, "removed");
    await assert.rejects(planRemoval(plain, "removed"), ProjectionRunning);
  }
  await expireHeartbeat("removed");
  await removeProjection(plain, "removed");
  assert.equal(await ownerOf("removed"), undefined);
  await catchUp(journalOf("removed"));
  assert.equal((await versionsIn("removed")).length, 1);
});

test("what create throws rejects the append, and the next one tries again", async () => {
  const definition = journalOf("created");
  let shouldFail = true;
  const create: NonNullable<Definition["relations"]>["create"] = async (tx) => {
    if (shouldFail) throw new Error("no disk");
    return await definition.relations?.create(tx);
  };
  await using store = inline({ ...definition, relations: { names: ["journal_created"], create } });
  await assert.rejects(append(store, "created"), /^Error: no disk$/);
  shouldFail = false;
  await append(store, "created");
  assert.equal((await versionsIn("created")).length, 1);
});
