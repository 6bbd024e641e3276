import { isServerUnavailable } from "../postgres/failure.ts";
import { isAggregate } from "./check-aggregate.ts";
import { checkOptions, isCount, isSignal, isText, isTextList, type OptionChecks } from "./check-options.ts";
import { checkpointPlace, logStart } from "./checkpoint.ts";
import type { Checkpoint, DomainEvent, RecordedEvent } from "./event.ts";
import { type LogPlace, makeCheckpoint } from "./log-place.ts";
import { type LogFilter, readPages } from "./read-log.ts";
import type { EventStore } from "./store.ts";
import { firstPauseMs, longerPauseMs } from "./wake-ups.ts";

/** What to subscribe to. */
export interface SubscribeOptions extends LogFilter {
  /** To start from now, pass `await logEnd(store)`; @default the beginning */
  readonly after?: Checkpoint;
  /** Maximum number of events per batch; @default 500 */
  readonly batchSize?: number;
  /** Ends the subscription. */
  readonly signal?: AbortSignal;
}

const subscribeOptions: OptionChecks<SubscribeOptions> = {
  after: isText,
  eventTypes: isTextList,
  aggregateTypes: isTextList,
  aggregate: isAggregate,
  batchSize: isCount(1),
  signal: isSignal,
};

/** Some events, and where to resume once they are handled. */
export interface EventBatch<Event extends DomainEvent = DomainEvent> {
  /** None if the batch only says that the subscription is live. */
  readonly events: readonly RecordedEvent<Event>[];
  /** Whether there was nothing more to read when the batch was read. */
  readonly isLive: boolean;
  /** Store it in the same transaction as the effect of the events. */
  readonly checkpoint: Checkpoint;
}

/**
 * Follows the log from a checkpoint until the signal is aborted, without losing or repeating an event. While the caller
 * handles one batch, up to two more are fetched.
 *
 * Once it has caught up with the end of the log, it is live. If the last batch did not say so, another one does, without
 * events. That happens once at the start, even if there is nothing to read, and again whenever it has fallen behind.
 *
 * If the connection is lost, it retries until the server is back. Appends through this package notify the
 * subscription; other events are found within 250 ms. The signal ends it at once, even if the server does not answer.
 *
 * @throws {InvalidInput} if the checkpoint is malformed, or an option is invalid
 * @throws {LogRewound} if the log is no longer the one in which the checkpoint was made
 * @throws any error of the server other than a lost connection; the error of the connection, if the server has never
 * answered and 5 seconds of retries have passed
 */
export async function* subscribe<Event extends DomainEvent = DomainEvent>(
  store: EventStore,
  options: SubscribeOptions = {},
): AsyncGenerator<EventBatch<Event>, void, void> {
  checkOptions(options, subscribeOptions, "subscribe()");
  const { signal } = options;
  const isEnded = () => signal?.aborted === true;
  let after = checkpointPlace(options.after ?? logStart);
  let isLive = false;
  const retries = store.availability.retries();
  let pauseMs = firstPauseMs;
  while (!isEnded()) {
    // In this order, no event is missed: one before the count is read now, one after it ends the wait below.
    store.wakeUps.listen();
    const { count } = store.wakeUps;
    try {
      for await (const page of readPages(store.sql, pageOptions(store, after, options))) {
        retries.succeeded();
        after = page.place;
        if (page.events.length === 0 && (isLive || !page.isAtEnd)) continue;
        if (page.events.length > 0) pauseMs = firstPauseMs;
        isLive = page.isAtEnd;
        yield { events: page.events as readonly RecordedEvent<Event>[], isLive, checkpoint: makeCheckpoint(after) };
        if (isEnded()) return;
      }
    } catch (error) {
      if (isEnded()) return;
      if (!isServerUnavailable(error)) throw error;
      retries.failed(error);
    }
    await store.wakeUps.wait(count, pauseMs, signal);
    pauseMs = longerPauseMs(pauseMs);
  }
}

function pageOptions({ upcasters }: EventStore, after: LogPlace, { batchSize, ...filter }: SubscribeOptions) {
  return { ...filter, after, isKeptOutside: true, maxCount: batchSize ?? 500, upcasters };
}
