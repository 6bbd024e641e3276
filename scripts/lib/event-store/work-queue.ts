import { setImmediate as nextTurn } from "node:timers/promises";

/** How much is sent at once. */
export interface BatchBounds {
  readonly count: number;
  readonly sizeBytes: number;
}

/** A piece of work that waits for its batch. */
interface Waiting<Item, Result> {
  readonly item: Item;
  readonly sizeBytes: number;
  /** Called when it is sent: it can't be taken back any more. */
  readonly onSent: () => void;
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (reason: unknown) => void;
}

/** What becomes of one item of a batch. */
export type Outcome<Result> = { readonly result: Result } | { readonly error: unknown };

/** Sends a batch; answers an outcome for each item, in their order. Rejects when the batch as a whole failed. */
export type SendBatch<Item, Result> = (items: readonly Item[]) => Promise<readonly Outcome<Result>[]>;

/** A batch that takes longer, since it waits for another session, does not keep later ones back any more. */
const stalledAfterMs = 100;

/**
 * Sends what is given while another batch is under way as one batch; what comes when nothing is under way goes at once.
 *
 * There is no waiting for company: a timer only notices that a batch has stalled.
 */
export class WorkQueue<Item, Result> {
  readonly #send: SendBatch<Item, Result>;
  readonly #bounds: BatchBounds;
  readonly #batches = new Set<Promise<void>>();
  #waiting: Waiting<Item, Result>[] = [];
  #holding = 0;
  #isClosed = false;

  constructor(send: SendBatch<Item, Result>, bounds: BatchBounds) {
    this.#send = send;
    this.#bounds = bounds;
  }

  /**
   * Adds an item.
   *
   * @param sizeBytes what it counts towards a batch; one that is larger than the bound goes alone
   * @param signal takes it back as long as it was not sent
   * @throws {Error} when the queue is closed
   */
  add(item: Item, sizeBytes: number, signal?: AbortSignal): Promise<Result> {
    if (this.#isClosed) return Promise.reject(new Error("the event store is closed: it takes no more appends"));
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const takeBack = () => {
      this.#waiting = this.#waiting.filter((one) => one !== waiting);
      reject(signal?.reason);
    };
    const onSent = () => signal?.removeEventListener("abort", takeBack);
    const waiting = { item, sizeBytes, onSent, resolve, reject };
    signal?.addEventListener("abort", takeBack, { once: true });
    this.#waiting.push(waiting);
    this.#sendNext();
    return promise;
  }

  /** Takes no more, and waits until all that was taken has its outcome. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#batches.size > 0) await Promise.all(this.#batches);
  }

  #sendNext(): void {
    if (this.#holding > 0 || this.#waiting.length === 0) return;
    const batch = this.#takeBatch();
    this.#holding++;
    let isHolding = true;
    const letGo = () => {
      if (!isHolding) return;
      isHolding = false;
      this.#holding--;
      this.#sendNext();
    };
    const stall = setTimeout(letGo, stalledAfterMs);
    const settled = this.#settle(batch)
      // Who has its answer often has its next call ready: without the turn the first of them would go alone.
      .then(nextTurn)
      .finally(() => {
        clearTimeout(stall);
        this.#batches.delete(settled);
        letGo();
      });
    this.#batches.add(settled);
  }

  #takeBatch(): Waiting<Item, Result>[] {
    let sizeBytes = 0;
    let count = 0;
    for (const one of this.#waiting) {
      sizeBytes += one.sizeBytes;
      if (count > 0 && (count >= this.#bounds.count || sizeBytes > this.#bounds.sizeBytes)) break;
      count++;
    }
    const batch = this.#waiting.splice(0, count);
    for (const { onSent } of batch) onSent();
    return batch;
  }

  async #settle(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const outcomes = await this.#send(batch.map(({ item }) => item));
      for (const [index, { resolve, reject }] of batch.entries()) {
        const outcome = outcomes[index];
        if (outcome !== undefined && "result" in outcome) resolve(outcome.result);
        else reject(outcome?.error ?? new Error("the server answered for fewer appends than were sent"));
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
