import type { Sql } from "../postgres/driver.ts";
import { appendedChannel } from "./announcer.ts";

/** How long a reader at the end of the log waits for a notification before it polls, right after it read an event. */
export const firstPauseMs = 20;
const maxPauseMs = 250;

/** @returns the next pause if the last one ended without an event */
export function longerPauseMs(pauseMs: number): number {
  return Math.min(pauseMs * 2, maxPauseMs);
}

/**
 * Wakes readers when there may be new events. One connection listens for all readers of a store, from the first one on.
 *
 * Notifications are only a hint: readers also poll, so nothing depends on one arriving.
 */
export class WakeUps {
  readonly #sql: Sql;
  readonly #sleepers = new Set<() => void>();
  #isListening = false;
  #count = 0;
  #isClosed = false;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** Number of notifications so far. Read it before the log and pass it to `wait()`, so that none is missed. */
  get count(): number {
    return this.#count;
  }

  /**
   * Starts listening, unless already started; the pool then listens again after a lost connection. If that fails, the
   * next call tries again. Readers do not wait for it: until it succeeds, they poll.
   */
  listen(): void {
    if (this.#isClosed || this.#isListening) return;
    this.#isListening = true;
    this.#sql
      .listen(appendedChannel, () => this.#wakeAll())
      .catch(() => {
        this.#isListening = false;
      });
  }

  /** Waits until there are more than `count` notifications, for at most `timeoutMs`. */
  async wait(count: number, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#isClosed || signal?.aborted === true || this.#count !== count) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    const timer = setTimeout(wake, timeoutMs);
    this.#sleepers.add(wake);
    signal?.addEventListener("abort", wake, { once: true });
    await promise;
    clearTimeout(timer);
    this.#sleepers.delete(wake);
    signal?.removeEventListener("abort", wake);
  }

  /** Wakes all readers. The pool closes the connection. */
  close(): void {
    this.#isClosed = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    this.#count++;
    for (const wake of this.#sleepers) wake();
  }
}
