import { runLine } from "../cli/run-line.ts";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type DemoEvent, tellShop } from "../demo/shop.ts";
import { prepareAppend } from "../event-store/append.ts";
import { describeError } from "../event-store/describe-error.ts";
import type { EventStore } from "../event-store/store.ts";
import { takeTransactionLock } from "../postgres/advisory-lock.ts";
import type { Sql } from "../postgres/driver.ts";
import type { RunContext } from "../stack/stack.ts";
import { appendMissing } from "./append-missing.ts";
import { seedLock } from "./lock.ts";
import type { SeedProgress } from "./progress.ts";

/** What to tell. */
export interface DemoOptions {
  /** Number of events, from the beginning of the story. */
  readonly events: number;
  /** The same seed gives the same log. */
  readonly rng: string;
  readonly progress: SeedProgress;
}

/** Of events in a batch. What is more takes the server longer than a round trip. */
const batchSize = 500;

/**
 * Appends the demo. One batch follows the other, so that the positions in the log are the same each time; each is a
 * transaction, so that the next run continues a killed one.
 *
 * @returns the number of events that were not there before
 * @throws {ScriptError} `SEED_CONFLICT` (exit 8) if a stream of the demo has other events
 */
export async function appendDemo(store: EventStore, options: DemoOptions, run: RunContext): Promise<number> {
  let [done, appended] = [0, 0];
  let sent: Promise<number> = Promise.resolve(0);
  for (const batch of batches(options)) {
    appended += await sent;
    run.signal.throwIfAborted();
    options.progress.show(done);
    sent = appendBatch(store, batch, run);
    // Awaited in the next round; meanwhile, the next batch is made.
    sent.catch(() => {});
    done += batch.length;
  }
  return appended + (await sent);
}

function* batches({ events, rng }: DemoOptions): Generator<DemoEvent[]> {
  let [batch, count]: [DemoEvent[], number] = [[], 0];
  for (const event of tellShop(rng)) {
    if (count === events) break;
    count++;
    batch.push(event);
    if (batch.length < batchSize) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

async function appendBatch(store: EventStore, events: readonly DemoEvent[], run: RunContext): Promise<number> {
  const appends = events.map(({ aggregate, expectedVersion, event }) =>
    prepareAppend(aggregate, [event], expectedVersion),
  );
  return await store.transaction(async (tx) => {
    const sql = tx as unknown as Sql;
    await takeTransactionLock(sql, seedLock("demo"), () => run.reporter.info("waiting for another seed of this set"));
    const outcomes = await appendMissing(sql, appends);
    for (const [index, outcome] of outcomes.entries()) {
      if (!outcome.ok) throw seedConflict(events[index] as DemoEvent, outcome.error);
    }
    return outcomes.filter((outcome) => outcome.ok && outcome.isNew).length;
  });
}

function seedConflict({ aggregate }: DemoEvent, error: unknown): ScriptError {
  return new ScriptError({
    code: "SEED_CONFLICT",
    exitCode: exitCodes.refused,
    message: `The demo conflicts with the events of ${aggregate.type} ${aggregate.id}`,
    why: `${describeError(error)}. The batch with its event was rolled back.`,
    fix: `Seed a database that has no other events of these streams, such as one after ${runLine("reset")}.`,
  });
}
