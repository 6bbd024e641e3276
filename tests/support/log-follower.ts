import { setTimeout as sleep } from "node:timers/promises";
import { checkpointAfter, logStart } from "../../scripts/lib/event-store/checkpoint.ts";
import { LogRewound } from "../../scripts/lib/event-store/errors.ts";
import type { RecordedEvent } from "../../scripts/lib/event-store/event.ts";
import { readAll } from "../../scripts/lib/event-store/read.ts";
import type { LogFilter } from "../../scripts/lib/event-store/read-log.ts";
import { type EventStore, openEventStore } from "../../scripts/lib/event-store/store.ts";
import { subscribe } from "../../scripts/lib/event-store/subscribe.ts";
import type { Sql } from "../../scripts/lib/postgres/driver.ts";
import { isServerUnavailable } from "../../scripts/lib/postgres/failure.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { inTransaction } from "../../scripts/lib/postgres/transaction.ts";
import {
  judge,
  type LogReader,
  readStored,
  type SeenEvent,
  type StoredEvent,
  seenColumns,
  type Verdict,
} from "./log-oracle.ts";

/** Reads from its checkpoint, which it keeps in memory, until the signal is aborted. */
type Reading = (store: EventStore, deliver: Deliver, signal: AbortSignal) => Promise<void>;

type Deliver = (events: readonly SeenEvent[]) => void;

/** What a follower reads and how. */
export interface FollowerOptions {
  readonly target: ConnectionTarget;
  /** Starts over with each call. */
  readonly begin: () => Reading;
  /** The types of the events that it reads; @default all */
  readonly types?: readonly string[];
}

/** A consumer outside the database, which survives crashes of the server. When the log is rewound, it starts over. */
export class LogFollower {
  readonly #options: FollowerOptions;
  #seen: SeenEvent[] = [];
  #reading: Reading;
  #stopping = new AbortController();
  #running = Promise.resolve();
  /** How often it was refused. */
  noticed = 0;
  /** How often it was refused although all events that it had seen were there. */
  falseAlarms = 0;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#reading = options.begin();
  }

  get last(): string | undefined {
    return this.#seen.at(-1)?.id;
  }

  start(): void {
    this.#stopping = new AbortController();
    this.#running = this.#follow(this.#stopping.signal);
    this.#running.catch(() => undefined);
  }

  /** @throws what reading threw */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** @param stored all events that are stored */
  hasCaughtUp(stored: readonly StoredEvent[]): boolean {
    return this.last === this.#select(stored).at(-1)?.id;
  }

  /** Compares what it has seen with the events of its types that are stored. */
  async judge(): Promise<Verdict> {
    return judge(this.#seen, this.#select(await readStored(this.#options.target)));
  }

  #select(stored: readonly StoredEvent[]): StoredEvent[] {
    return stored.filter(({ type }) => this.#options.types?.includes(type) ?? true);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { target, begin } = this.#options;
    await using store = openEventStore({ ...target, password: target.password ?? "", logger: false });
    while (!signal.aborted) {
      try {
        await this.#reading(store, (events) => this.#seen.push(...events), signal);
      } catch (error) {
        if (!(error instanceof LogRewound)) throw error;
        if ((await this.judge()).vanished === 0) this.falseAlarms++;
        this.noticed++;
        this.#seen = [];
        this.#reading = begin();
      }
    }
  }
}

/** Follows by `subscribe()`. */
export function bySubscription(filter: LogFilter = {}): () => Reading {
  return () => {
    let after = logStart;
    return async (store, deliver, signal) => {
      for await (const { events, checkpoint } of subscribe(store, { ...filter, after, signal, batchSize: 50 })) {
        deliver(events.map(seenEvent));
        after = checkpoint;
      }
    };
  };
}

/** Follows by `readAll()` again and again, each time from the last event. */
export function byReadAll(filter: LogFilter = {}): () => Reading {
  return () => {
    let after = logStart;
    return repeatedly(async (store) => {
      const events = await Array.fromAsync(readAll(store, { ...filter, after, pageSize: 50 }));
      after = events.length === 0 ? after : checkpointAfter(events.at(-1) as RecordedEvent);
      return events.map(seenEvent);
    });
  };
}

/** Follows by reading pages. */
export function byReader(begin: () => LogReader): () => Reading {
  return () => {
    const reader = begin();
    return repeatedly((store) => reader.read(store.sql));
  };
}

/** Follows by SQL, and keeps an answer of `safe_position()`. */
export function horizonReader(): LogReader {
  let after = 0n;
  return {
    async read(sql) {
      const { horizon, events } = await inTransaction(sql, (tx) => readToHorizon(tx, after));
      // Only now: if the commit fails, the caller does not get the events.
      after = horizon > after ? horizon : after;
      return events;
    },
  };
}

async function readToHorizon(tx: Sql, after: bigint) {
  const [{ horizon }] = await tx<[{ horizon: bigint }]>`select event_store.safe_position() as horizon`;
  const events = await tx<SeenEvent[]>`
    select ${tx.unsafe(seenColumns)} from event_store.read_all(${after}, null, null, null, ${horizon})`;
  return { horizon, events };
}

function seenEvent(event: RecordedEvent): SeenEvent {
  return { ...event, version: event.aggregateVersion };
}

function repeatedly(read: (store: EventStore) => Promise<readonly SeenEvent[]>): Reading {
  return async (store, deliver, signal) => {
    while (!signal.aborted) {
      const events = await read(store).catch((error) => {
        if (isServerUnavailable(error)) return [];
        throw error;
      });
      deliver(events);
      // Without a pause, the readers would starve the writers.
      if (events.length === 0) await sleep(10);
    }
  };
}
