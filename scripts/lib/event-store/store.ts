import { type Connection, openConnection } from "../postgres/connect.ts";
import type { ConnectionTarget, Credentials } from "../postgres/target.ts";
import { Announcer } from "./announcer.ts";
import { type AppendRow, deliverBatch, type PreparedAppend, sendBatch } from "./append.ts";
import { AppendLanes, type SendAppends } from "./append-lanes.ts";
import { Availability } from "./availability.ts";
import {
  checkOptions,
  isAnything,
  isCount,
  isFlag,
  isText,
  type OptionChecks,
  type ValueCheck,
} from "./check-options.ts";
import { chooseLogger, type Logger } from "./logger.ts";
import type { EventStore, StoreParts } from "./opened-store.ts";
import { planUpcasts } from "./plan-upcasts.ts";
import type { ProjectionDefinition } from "./projection/definition.ts";
import { InlineProjections } from "./projection/inline.ts";
import { runTransaction } from "./transaction.ts";
import { Turns } from "./turns.ts";
import type { Upcasters } from "./upcast.ts";
import { waitAtMost } from "./waiting.ts";
import { WakeUps } from "./wake-ups.ts";
import { WorkQueue } from "./work-queue.ts";

export type { EventStore } from "./opened-store.ts";

/** How to open an event store. */
export interface EventStoreOptions extends Omit<ConnectionTarget, "password"> {
  /** @default none */
  readonly password?: string;
  /** Called for each new connection, so that rotated credentials take effect; @default `user` and `password` */
  readonly credentials?: () => Credentials | Promise<Credentials>;
  /** Shown in `pg_stat_activity`; @default "cqrs-postgres" */
  readonly applicationName?: string;
  /**
   * Maximum number of connections; one more listens if there is a subscription or projection, and projections use up to
   * as many again for their transactions. @default 10
   */
  readonly maxConnections?: number;
  /** Convert events of earlier versions when they are read; @default none */
  readonly upcasters?: Upcasters;
  /**
   * Projections that handle events in the transaction of their append, so that both commit together or not at all. Such
   * an append rejects with what `handle` throws, and nothing is stored. Appends of stores that do not list them, and of
   * SQL clients, bypass them. @default none
   */
  readonly inlineProjections?: readonly ProjectionDefinition[];
  /** Receives reports of lost connections, retries and waits; false for none; @default warnings to stderr */
  readonly logger?: Logger | false;
  /** Whether to prepare statements; `false` behind a pooler that cannot track them; @default true */
  readonly prepare?: boolean;
}

const isObjectList: ValueCheck = (value) =>
  Array.isArray(value) && value.every((element) => typeof element === "object" && element !== null)
    ? undefined
    : "an array of projections";

/** @internal Those that `connect()` takes too. */
export const commonOptions = {
  applicationName: isText,
  maxConnections: isCount(1),
  upcasters: isAnything,
  inlineProjections: isObjectList,
  logger: isAnything,
  prepare: isFlag,
};

const storeOptions: OptionChecks<EventStoreOptions> = {
  ...commonOptions,
  host: isText,
  port: isCount(0),
  database: isText,
  user: isText,
  password: isText,
  credentials: isAnything,
  tls: isText,
  tlsRootCert: isText,
};

/**
 * A batch takes the server a few milliseconds at most. Items whose work exceeds a round trip are sent concurrently with
 * the batch in flight (decision 0012); sending less would cost the server more than it gains the callers.
 */
const queueBounds = {
  batch: { count: 512, sizeBytes: 4 * 1024 * 1024 },
  worthSending: { count: 64, sizeBytes: 32 * 1024 },
  concurrency: 4,
};

/** How long closing waits for the appends in flight; the pool then gets as long to close its connections. */
const drainMs = 5_000;

/**
 * Opens an event store for an application: a pool of up to 10 connections, opened on demand and closed after 10 minutes
 * of inactivity or 30 minutes in all. Connecting times out after 30 seconds.
 *
 * Dispose of it to finish the appends in flight and close the connections. If the server does not answer, that gives up
 * after 10 seconds.
 *
 * @throws {InvalidInput} if an option is unknown or invalid, or upcasters are malformed or form a cycle
 */
export function openEventStore(options: EventStoreOptions): EventStore {
  checkOptions(options, storeOptions, "openEventStore()");
  const upcasters = planUpcasts(options.upcasters ?? {});
  const logger = chooseLogger(options.logger);
  const availability = new Availability(logger);
  const pool = openPool(options, availability);
  const projections = openPool(options, availability);
  const announcer = new Announcer(pool.sql);
  const parts: StoreParts = {
    sql: pool.sql,
    projections: projections.sql,
    decisions: new Turns(),
    upcasters,
    wakeUps: new WakeUps(pool.sql),
    logger,
    availability,
  };
  const inline = openInline(parts, options.inlineProjections);
  const appends = openQueue(parts, announcer, inline);
  const drain = async () => {
    await appends.close();
    await announcer.close();
    await inline?.close();
    parts.wakeUps.close();
  };
  return {
    ...parts,
    appends,
    inline,
    async transaction(work) {
      await inline?.prepare();
      return await runTransaction(pool.sql, work, () => announcer.announce());
    },
    async [Symbol.asyncDispose]() {
      await waitAtMost(drainMs, drain());
      await Promise.all([pool[Symbol.asyncDispose](), projections[Symbol.asyncDispose]()]);
    },
  };
}

function openInline(parts: StoreParts, definitions: readonly ProjectionDefinition[] = []) {
  return definitions.length === 0 ? undefined : new InlineProjections(parts, definitions);
}

/** @param inline undefined if no projection runs inline */
function openQueue(
  { sql, logger, availability }: StoreParts,
  announcer: Announcer,
  inline: InlineProjections | undefined,
): AppendLanes | WorkQueue<PreparedAppend, AppendRow> {
  const deliver =
    (send: SendAppends): SendAppends =>
    async (batch) => {
      const outcomes = await deliverBatch({ send, logger, availability }, batch);
      if (outcomes.some(({ ok }) => ok)) announcer.announce();
      return outcomes;
    };
  const sendFast = deliver((batch) => sendBatch(sql, batch));
  if (inline === undefined) return new WorkQueue(sendFast, queueBounds);
  return new AppendLanes({
    isSlow: (append) => inline.handles(append),
    sendFast,
    sendSlow: deliver((batch) => inline.send(batch)),
    bounds: queueBounds,
  });
}

function openPool(options: EventStoreOptions, availability: Availability): Connection {
  return openConnection(
    { ...options, password: options.password },
    {
      max: options.maxConnections ?? 10,
      connectTimeoutSeconds: 30,
      idleTimeoutSeconds: 10 * 60,
      prepare: options.prepare ?? true,
      onSessionOpen: () => availability.answered(),
      onSessionLost: (reason) => availability.sessionLost(reason),
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
      ...(options.applicationName === undefined ? {} : { applicationName: options.applicationName }),
    },
  );
}
