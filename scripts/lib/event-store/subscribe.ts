import { isServerAway } from "../postgres/failure.ts";
import { logStart } from "./checkpoint.ts";
import type { Checkpoint, DomainEvent, RecordedEvent } from "./event.ts";
import { type LogFilter, readPages } from "./read.ts";
import type { EventStore } from "./store.ts";
import { firstPauseMs, longerPauseMs } from "./wake-ups.ts";

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

/**
 * Follows the log from a checkpoint on, as long as the signal lets it: no event is lost or repeated. Up to two batches
 * are fetched while the consumer handles one, and no further.
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
  const { signal } = options;
  const isEnded = () => signal?.aborted === true;
  let after = options.after ?? logStart;
  let pauseMs = firstPauseMs;
  while (!isEnded()) {
    // In this order: what is announced from here on ends the wait below, what was before is read now.
    await store.wakeUps.listen();
    const { count } = store.wakeUps;
    try {
      for await (const page of readPages(store.sql, pageOptions(store, after, options))) {
        after = page.checkpoint;
        if (page.events.length === 0) continue;
        pauseMs = firstPauseMs;
        yield { events: page.events as readonly RecordedEvent<Event>[], checkpoint: after };
        if (isEnded()) return;
      }
    } catch (error) {
      if (!isServerAway(error) || isEnded()) throw error;
      await store.wakeUps.reset();
    }
    await store.wakeUps.wait(count, pauseMs, signal);
    pauseMs = longerPauseMs(pauseMs);
  }
}

function pageOptions({ upcasters }: EventStore, after: Checkpoint, { batchSize, ...filter }: SubscribeOptions) {
  return { ...filter, after, maxCount: batchSize ?? 500, upcasters };
}
