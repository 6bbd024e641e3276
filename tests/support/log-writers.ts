import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { appendEvents } from "../../scripts/lib/event-store/append.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { isServerUnavailable } from "../../scripts/lib/postgres/failure.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import { random } from "./chaos.ts";

/** The events of the writers, as their callers saw them: by id. If a commit was not answered, they are in neither. */
export interface Outcomes {
  readonly acknowledged: Set<string>;
  readonly takenBack: Set<string>;
}

/** How the writers work. */
export interface WriterOptions {
  readonly target: ConnectionTarget;
  readonly writers: number;
  readonly outcomes: Outcomes;
  readonly isDone: () => boolean;
  /** Whether to roll back all transactions now; @default some of them */
  readonly isTakingBack?: () => boolean;
}

/** The types of the events. */
export const eventTypes: readonly string[] = ["A", "B", "C", "D", "E"];

const streamCount = 300;

/** Nothing was tried yet. */
export function makeOutcomes(): Outcomes {
  return { acknowledged: new Set(), takenBack: new Set() };
}

/**
 * Runs writers, by SQL and by `appendEvents()`, whose transactions have several appends, pauses, savepoints and
 * rollbacks. They go on when the server is back after a crash.
 */
export async function write(options: WriterOptions): Promise<void> {
  const streams = Array.from({ length: streamCount }, () => randomUUID());
  const { target, writers, isDone } = options;
  const work = Array.from({ length: writers }, async () => {
    await using store = openEventStore({
      ...target,
      password: target.password ?? "",
      maxConnections: 1,
      logger: false,
    });
    while (!isDone()) await writeOnce(store, streams, options);
  });
  await Promise.all(work);
}

class TakenBack extends Error {}

async function writeOnce(store: EventStore, streams: readonly string[], options: WriterOptions): Promise<void> {
  const { outcomes, isTakingBack = () => false } = options;
  // In the order of their ids, or writers would deadlock.
  const chosen = Array.from({ length: 1 + random(4) }, () => streams[random(streamCount)] ?? "").toSorted();
  const appends = chosen.map((id) => makeAppend(id));
  const [first] = appends;
  try {
    if (first !== undefined && random(5) === 0 && !isTakingBack()) {
      await appendByClient(store, first);
      addIds(outcomes.acknowledged, [first]);
      return;
    }
    const kept = await inTransaction(store.sql, async (tx) => {
      const released = await appendAll(store, tx, appends);
      if (random(8) === 0 || isTakingBack()) throw new TakenBack();
      return released;
    });
    addIds(outcomes.acknowledged, kept);
    addIds(
      outcomes.takenBack,
      appends.filter((append) => !kept.includes(append)),
    );
  } catch (error) {
    if (error instanceof TakenBack) addIds(outcomes.takenBack, appends);
    else if (isServerUnavailable(error)) await sleep(20);
    else throw error;
  }
}

/** The events of one append. */
interface Append {
  readonly id: string;
  readonly events: readonly { readonly id: string; readonly type: string; readonly data: object }[];
}

function makeAppend(id: string): Append {
  const events = Array.from({ length: 1 + random(8) }, () => ({
    id: randomUUID(),
    type: eventTypes[random(eventTypes.length)] ?? "",
    data: {},
  }));
  return { id, events };
}

function addIds(ids: Set<string>, appends: readonly Append[]): void {
  for (const { events } of appends) for (const { id } of events) ids.add(id);
}

/** @returns the appends whose savepoint was not rolled back */
async function appendAll(store: EventStore, tx: Sql, appends: readonly Append[]): Promise<Append[]> {
  const kept: Append[] = [];
  for (const append of appends) {
    const send = () => (random(2) === 0 ? appendByClient(store, append, tx) : appendBySql(tx, append));
    const isKept = random(4) === 0 ? await inAttempt(tx, send) : await send();
    if (isKept) kept.push(append);
    if (random(3) === 0) await sleep(random(8));
  }
  return kept;
}

/** @returns whether the savepoint was released */
async function inAttempt(tx: Sql, send: () => Promise<true>): Promise<boolean> {
  const isKept = random(2) === 0;
  await tx`savepoint attempt`;
  await send();
  if (isKept) await tx`release savepoint attempt`;
  else await tx`rollback to savepoint attempt`;
  return isKept;
}

async function appendByClient(store: EventStore, { id, events }: Append, transaction?: Sql): Promise<true> {
  await appendEvents(store, { type: "Thing", id }, events, transaction === undefined ? {} : { transaction });
  return true;
}

async function appendBySql(tx: Sql, { id, events }: Append): Promise<true> {
  const elements = events.map((event) => ({ event_id: event.id, event_type: event.type, event_data: event.data }));
  await tx`
    select from event_store.append(
      event_store.stream_id_of('Thing', ${id}), 'Thing', ${id}, null, ${JSON.stringify(elements)}::text::jsonb)`;
  return true;
}
