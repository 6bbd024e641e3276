import { setImmediate as nextTurn } from "node:timers/promises";
import { untilAborted } from "./waiting.ts";

/** An amount of work. */
export interface Amount {
  readonly count: number;
  readonly sizeBytes: number;
}

/** How much is sent, and when. */
export interface QueueBounds {
  /** The maximum size of a batch. */
  readonly batch: Amount;
  /** Once this much is waiting, it is sent even while a batch is in flight: waiting for more would save little. */
  readonly worthSending: Amount;
  /** The maximum number of batches in flight. */
  readonly concurrency: number;
}

/** An item that waits for its batch. */
interface WaitingItem<Item, Result> {
  readonly key: string;
  readonly item: Item;
  readonly sizeBytes: number;
  /** Called when it is sent; after that it cannot be cancelled. */
  readonly onSent: () => void;
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (reason: unknown) => void;
}

/** What became of one item of a batch. */
export type ItemOutcome<Result> =
  | { readonly ok: true; readonly value: Result }
  | { readonly ok: false; readonly error: unknown };

/** Sends a batch and returns the outcome of each item, in order. Rejects if the batch as a whole failed. */
export type SendBatch<Item, Result> = (items: readonly Item[]) => Promise<readonly ItemOutcome<Result>[]>;

/** A batch that takes longer than this, because it waits for another session, no longer delays others. */
const stalledAfterMs = 100;

/** How long a caller whose signal was aborted waits for the outcome of an item that was sent. */
export const outcomeGraceMs = 1_000;

/**
 * Collects items while a batch is in flight and sends them as one batch. An item is sent immediately if nothing is in
 * flight, and enough items for a batch of their own are sent concurrently.
 *
 * Items of one key are sent in the order they were added: in one batch, or each after the earlier ones have settled.
 * No item is delayed to wait for others; the only timer detects a stalled batch.
 */
export class WorkQueue<Item, Result> {
  readonly #send: SendBatch<Item, Result>;
  readonly #bounds: QueueBounds;
  readonly #batches = new Set<Promise<void>>();
  /** Items that may be sent: nothing of their keys is in flight. */
  readonly #ready = new Set<WaitingItem<Item, Result>>();
  #readySizeBytes = 0;
  /** For each key in flight, the items waiting for it. */
  readonly #blocked = new Map<string, Set<WaitingItem<Item, Result>>>();
  /** Number of batches in flight that have not stalled. */
  #activeBatches = 0;
  #isClosed = false;

  constructor(send: SendBatch<Item, Result>, bounds: QueueBounds) {
    this.#send = send;
    this.#bounds = bounds;
  }

  /**
   * Adds an item.
   *
   * @param key items of one key keep their order
   * @param sizeBytes the item's part of a batch; one that exceeds the bound is sent alone
   * @param signal cancels the item if it has not been sent yet; otherwise, waits one more second for its outcome
   * @returns the value of its outcome
   * @throws {Error} if the queue is closed
   * @throws the error of its outcome, or the reason of the signal
   */
  add(key: string, item: Item, sizeBytes: number, signal?: AbortSignal): Promise<Result> {
    if (this.#isClosed) return Promise.reject(new Error("the event store is closed and accepts no more appends"));
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const cancel = () => {
      this.#remove(waiting);
      reject(signal?.reason);
    };
    const onSent = () => signal?.removeEventListener("abort", cancel);
    const waiting = { key, item, sizeBytes, onSent, resolve, reject };
    signal?.addEventListener("abort", cancel, { once: true });
    this.#enqueue(waiting);
    this.#sendReady();
    return signal === undefined ? promise : untilAborted(promise, signal, outcomeGraceMs);
  }

  /** Stops accepting items, and waits until every item has its outcome. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#batches.size > 0) await Promise.all(this.#batches);
  }

  #enqueue(waiting: WaitingItem<Item, Result>): void {
    const blocked = this.#blocked.get(waiting.key);
    if (blocked !== undefined) {
      blocked.add(waiting);
      return;
    }
    this.#ready.add(waiting);
    this.#readySizeBytes += waiting.sizeBytes;
  }

  #remove(waiting: WaitingItem<Item, Result>): void {
    if (this.#ready.delete(waiting)) this.#readySizeBytes -= waiting.sizeBytes;
    else this.#blocked.get(waiting.key)?.delete(waiting);
  }

  #sendReady(): void {
    while (this.#shouldSend()) this.#sendBatch();
  }

  #shouldSend(): boolean {
    if (this.#activeBatches === 0) return this.#ready.size > 0;
    const { worthSending, concurrency } = this.#bounds;
    const isWorthSending = this.#ready.size >= worthSending.count || this.#readySizeBytes >= worthSending.sizeBytes;
    return isWorthSending && this.#activeBatches < concurrency;
  }

  #sendBatch(): void {
    const batch = this.#takeBatch();
    this.#activeBatches++;
    let isActive = true;
    const deactivate = () => {
      if (isActive) this.#activeBatches--;
      isActive = false;
      this.#sendReady();
    };
    const stallTimer = setTimeout(deactivate, stalledAfterMs);
    const settled = this.#settle(batch)
      // Callers often append again as soon as they get an answer. Without this turn, the first of them is sent alone.
      .then(() => nextTurn())
      .finally(() => {
        clearTimeout(stallTimer);
        this.#batches.delete(settled);
        this.#unblock(batch);
        deactivate();
      });
    this.#batches.add(settled);
  }

  #takeBatch(): WaitingItem<Item, Result>[] {
    const { count, sizeBytes } = this.#bounds.batch;
    const batch: WaitingItem<Item, Result>[] = [];
    let batchSizeBytes = 0;
    for (const waiting of this.#ready) {
      batchSizeBytes += waiting.sizeBytes;
      if (batch.length > 0 && (batch.length >= count || batchSizeBytes > sizeBytes)) break;
      batch.push(waiting);
    }
    for (const waiting of batch) {
      this.#remove(waiting);
      waiting.onSent();
    }
    for (const { key } of batch) if (!this.#blocked.has(key)) this.#blocked.set(key, new Set());
    this.#blockReady();
    return batch;
  }

  /** Blocks the items that did not fit into a batch that has their key. */
  #blockReady(): void {
    for (const waiting of this.#ready) {
      if (!this.#blocked.has(waiting.key)) continue;
      this.#remove(waiting);
      this.#enqueue(waiting);
    }
  }

  #unblock(batch: readonly WaitingItem<Item, Result>[]): void {
    for (const { key } of batch) {
      const blocked = this.#blocked.get(key);
      this.#blocked.delete(key);
      for (const waiting of blocked ?? []) this.#enqueue(waiting);
    }
  }

  async #settle(batch: readonly WaitingItem<Item, Result>[]): Promise<void> {
    try {
      const outcomes = await this.#send(batch.map(({ item }) => item));
      for (const [index, { resolve, reject }] of batch.entries()) {
        const outcome = outcomes[index];
        if (outcome === undefined) reject(new Error("the server returned fewer results than appends were sent"));
        else if (outcome.ok) resolve(outcome.value);
        else reject(outcome.error);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
