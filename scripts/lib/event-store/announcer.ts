import type { Sql } from "../postgres/connect.ts";

/** Where readers hear that there is something new; it says nothing else. */
export const appendedChannel = "event_store_appended";

const intervalMs = 20;

/**
 * Tells readers that something was appended, after it was committed: NOTIFY inside of a transaction would let commits
 * wait for each other. Once per 20 ms at most; who misses it finds the events by looking now and then.
 */
export class Announcer {
  readonly #sql: Sql;
  #current: Promise<unknown> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** Returns at once. */
  announce(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    const waitMs = this.#lastAt + intervalMs - performance.now();
    if (waitMs <= 0) this.#send();
    else this.#timer = setTimeout(() => this.#send(), waitMs);
  }

  /** Sends what is still to be said. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#send();
    }
    await this.#current;
  }

  #send(): void {
    this.#timer = undefined;
    this.#lastAt = performance.now();
    // A reader that is not told looks by itself; an append that was committed must not fail for it.
    this.#current = this.#sql`select pg_catalog.pg_notify(${appendedChannel}, '')`.catch(() => undefined);
  }
}
