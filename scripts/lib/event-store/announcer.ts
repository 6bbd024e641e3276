import type { Sql } from "../postgres/driver.ts";

/** Channel on which readers learn of new events. The payload is empty. */
export const appendedChannel = "event_store_appended";

const intervalMs = 20;

/**
 * Notifies readers of new events, at most once every 20 ms and only after the commit: NOTIFY inside the transaction
 * would serialise commits. Readers that miss a notification find the events by polling.
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

  /** Schedules a notification. Never waits or fails. */
  announce(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    const waitMs = this.#lastAt + intervalMs - performance.now();
    if (waitMs <= 0) this.#send();
    else this.#timer = setTimeout(() => this.#send(), waitMs);
  }

  /** Sends the pending notification, if any, and waits until it is sent. */
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
    // Readers poll as well, and a committed append must not fail because of its notification.
    this.#current = this.#sql`select pg_catalog.pg_notify(${appendedChannel}, '')`.catch(() => undefined);
  }
}
