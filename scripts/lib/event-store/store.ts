import type { Credentials } from "../postgres/changing-login.ts";
import { type ConnectionTarget, openConnection, type Sql } from "../postgres/connect.ts";
import { Announcer } from "./announcer.ts";
import { type AppendResult, deliverBatch } from "./append.ts";
import { noUpcasters, type Upcasters } from "./upcast.ts";
import { WakeUps } from "./wake-ups.ts";
import { WorkQueue } from "./work-queue.ts";

/** How to open an event store. */
export interface EventStoreOptions extends Omit<ConnectionTarget, "password"> {
  readonly password?: string;
  /** Asked at each new connection, so that rotated ones are followed; `user` and `password` when left out. */
  readonly credentials?: () => Credentials | Promise<Credentials>;
  /** Shown in `pg_stat_activity`; @default "cqrs-postgres" */
  readonly applicationName?: string;
  /** Greatest number of connections; one more listens while somebody subscribes. @default 10 */
  readonly maxConnections?: number;
  /** Brings events of earlier forms to the present one. */
  readonly upcasters?: Upcasters;
}

/** A pool of connections to an event store, and what its calls share. */
export interface EventStore extends AsyncDisposable {
  /** The pool, for statements of your own. */
  readonly sql: Sql;
  /** @internal Appends that wait for their batch. */
  readonly appends: WorkQueue<string, AppendResult>;
  /** @internal */
  readonly upcasters: Upcasters;
  /** @internal Says when there may be new events. */
  readonly wakeUps: WakeUps;
}

/**
 * A batch holds at most some milliseconds of work for the server. What takes it longer than going back and forth goes
 * beside the batch under way (decision 0012): less than that costs the server more than it gains the callers.
 */
const queueBounds = {
  batch: { count: 512, sizeBytes: 4 * 1024 * 1024 },
  worthSending: { count: 64, sizeBytes: 32 * 1024 },
  concurrency: 4,
};

/**
 * Makes the pool of an application: 10 connections that are made when they are needed, closed after 10 minutes of
 * idleness or 30 of life; connecting may take 30 seconds. Statements are prepared.
 *
 * Dispose of it to send what is under way and close the connections.
 */
export function openEventStore(options: EventStoreOptions): EventStore {
  const pool = openConnection(
    { ...options, password: options.password },
    {
      max: options.maxConnections ?? 10,
      connectTimeoutSeconds: 30,
      idleTimeoutSeconds: 10 * 60,
      isolation: "read committed",
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
      ...(options.applicationName === undefined ? {} : { applicationName: options.applicationName }),
    },
  );
  const announcer = new Announcer(pool.sql);
  const wakeUps = new WakeUps(pool.sql);
  const appends = new WorkQueue<string, AppendResult>(async (elements) => {
    const outcomes = await deliverBatch(pool.sql, elements);
    if (outcomes.some(({ ok }) => ok)) announcer.announce();
    return outcomes;
  }, queueBounds);
  return {
    sql: pool.sql,
    appends,
    upcasters: options.upcasters ?? noUpcasters,
    wakeUps,
    async [Symbol.asyncDispose]() {
      await appends.close();
      await announcer.close();
      await wakeUps.close();
      await pool[Symbol.asyncDispose]();
    },
  };
}
