import type { Sql } from "../postgres/connect.ts";
import { appendedChannel } from "./announcer.ts";

/**
 * Says when there may be new events; one connection listens for all subscribers of a process, once there was one.
 *
 * A hint and no more: whoever waits also looks by itself now and then, so nothing depends on a notification arriving.
 */
export class WakeUps {
  readonly #sql: Sql;
  readonly #sleepers = new Set<() => void>();
  #listening: Promise<{ unlisten(): Promise<void> } | undefined> | undefined;
  #count = 0;
  #isClosed = false;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** How many were heard; whoever looks for events afterwards and gives it to `wait()` misses none. */
  get count(): number {
    return this.#count;
  }

  /** Begins to listen; again, when that had failed or `lost()` was called. */
  async listen(): Promise<void> {
    if (this.#isClosed) return;
    this.#listening ??= this.#sql.listen(appendedChannel, () => this.#wakeAll()).catch(() => undefined);
    if ((await this.#listening) === undefined) this.#listening = undefined;
  }

  /** The server was away: the driver tries to listen again only once, so the next `listen()` begins anew. */
  async lost(): Promise<void> {
    const earlier = this.#listening;
    this.#listening = undefined;
    await (await earlier)?.unlisten().catch(() => undefined);
  }

  /** Waits until one is heard that `count` does not include, and no longer than `timeoutMs`. */
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

  /** Wakes all who wait; the pool closes the connection. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wakeAll();
    await this.#listening;
  }

  #wakeAll(): void {
    this.#count++;
    for (const wake of this.#sleepers) wake();
  }
}
