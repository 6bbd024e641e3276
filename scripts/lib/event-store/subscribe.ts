import { isServerAway } from "../postgres/connection-error.ts";
import { logStart } from "./checkpoint.ts";
import type { EventStore } from "./connection.ts";
import type { Checkpoint, DomainEvent, RecordedEvent } from "./event.ts";
import { type LogFilter, type LogPage, readLog } from "./read.ts";

/** What to subscribe to. */
export interface SubscribeOptions extends LogFilter {
  /** @default the beginning */
  readonly after?: Checkpoint;
  /** Greatest number of events that are given at once; @default 500 */
  readonly batchSize?: number;
  /** Ends the subscription. */
  readonly signal?: AbortSignal;
}

/** Some events, and where to go on once they are handled. */
export interface EventBatch<Event extends DomainEvent = DomainEvent> {
  readonly events: readonly RecordedEvent<Event>[];
  /** Store it together with what was made of the events. */
  readonly checkpoint: Checkpoint;
}

/** How long to wait between looks when nothing was announced: short after something came, longer and longer after. */
const waitMs = { shortest: 20, longest: 250 } as const;

/**
 * Follows the log from a checkpoint on, as long as the signal lets it: no event is lost or repeated, and the next ones
 * are read when the consumer asks for them.
 *
 * A lost connection is waited out. Events are announced by those who append through this package; others are found
 * within 250 ms.
 *
 * @throws whatever is wrong with the statement or its arguments
 */
export async function* subscribe<Event extends DomainEvent = DomainEvent>(
  store: EventStore,
  options: SubscribeOptions = {},
): AsyncGenerator<EventBatch<Event>, void, void> {
  let after = options.after ?? logStart;
  let idleMs: number = waitMs.shortest;
  while (options.signal?.aborted !== true) {
    // In this order: what is announced from here on ends the wait below, what was before is read now.
    await store.wakeUps.listen();
    const { count } = store.wakeUps;
    const page = await readPage(store, after, options);
    if (page !== undefined && page.events.length > 0) {
      after = page.checkpoint;
      idleMs = waitMs.shortest;
      yield { events: page.events as readonly RecordedEvent<Event>[], checkpoint: after };
      if (!page.isAtEnd) continue;
    }
    after = page?.checkpoint ?? after;
    await store.wakeUps.wait(count, idleMs, options.signal);
    idleMs = Math.min(idleMs * 2, waitMs.longest);
  }
}

/** @returns undefined when the server is away */
async function readPage(store: EventStore, after: Checkpoint, options: SubscribeOptions): Promise<LogPage | undefined> {
  try {
    const maxCount = options.batchSize ?? 500;
    return await readLog(store.sql, { ...options, after, maxCount, upcasters: store.upcasters });
  } catch (error) {
    if (!isServerAway(error) || options.signal?.aborted === true) throw error;
    await store.wakeUps.lost();
    return undefined;
  }
}
