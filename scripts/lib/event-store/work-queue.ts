import { setImmediate as nextTurn } from "node:timers/promises";

/** An amount of work. */
export interface Amount {
  readonly count: number;
  readonly sizeBytes: number;
}

/** How much is sent, and when. */
export interface QueueBounds {
  /** A batch holds at most so much. */
  readonly batch: Amount;
  /** So much goes beside what is under way instead of waiting for it: more company would save little. */
  readonly worthSending: Amount;
  /** At most so many batches are under way. */
  readonly concurrency: number;
}

/** A piece of work that waits for its batch. */
interface Waiting<Item, Result> {
  readonly key: string;
  readonly item: Item;
  readonly sizeBytes: number;
  /** Called when it is sent: it can't be taken back any more. */
  readonly onSent: () => void;
  readonly resolve: (result: Result | PromiseLike<Result>) => void;
  readonly reject: (reason: unknown) => void;
}

/** What became of one item of a batch. */
export type ItemOutcome<Result> =
  | { readonly ok: true; readonly value: Result }
  | { readonly ok: false; readonly error: unknown };

/** Sends a batch; answers an outcome for each item, in their order. Rejects when the batch as a whole failed. */
export type SendBatch<Item, Result> = (items: readonly Item[]) => Promise<readonly ItemOutcome<Result>[]>;

/** A batch that takes longer, since it waits for another session, does not keep later ones back any more. */
const stalledAfterMs = 100;

/**
 * Sends what is given while another batch is under way as one batch; what comes when nothing is under way goes at once,
 * and what is worth a batch of its own goes beside the others.
 *
 * Items of one key are sent in the order in which they came, each when those before it have their outcome or together
 * with them. There is no waiting for company: a timer only notices that a batch has stalled.
 */
export class WorkQueue<Item, Result> {
  readonly #send: SendBatch<Item, Result>;
  readonly #bounds: QueueBounds;
  readonly #batches = new Set<Promise<void>>();
  /** May be sent: nothing of their keys is under way. */
  readonly #ready = new Set<Waiting<Item, Result>>();
  #readySizeBytes = 0;
  /** What waits for something of its key; there is an entry for each key under way. */
  readonly #following = new Map<string, Set<Waiting<Item, Result>>>();
  /** Batches under way that have not stalled. */
  #holding = 0;
  #isClosed = false;

  constructor(send: SendBatch<Item, Result>, bounds: QueueBounds) {
    this.#send = send;
    this.#bounds = bounds;
  }

  /**
   * Adds an item.
   *
   * @param key items of one key keep their order
   * @param sizeBytes what it counts towards a batch; one that is larger than the bound goes alone
   * @param signal takes it back as long as it was not sent
   * @throws {Error} when the queue is closed
   */
  add(key: string, item: Item, sizeBytes: number, signal?: AbortSignal): Promise<Result> {
    if (this.#isClosed) return Promise.reject(new Error("the event store is closed: it takes no more appends"));
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const takeBack = () => {
      this.#remove(waiting);
      reject(signal?.reason);
    };
    const onSent = () => signal?.removeEventListener("abort", takeBack);
    const waiting = { key, item, sizeBytes, onSent, resolve, reject };
    signal?.addEventListener("abort", takeBack, { once: true });
    this.#place(waiting);
    this.#sendNext();
    return promise;
  }

  /** Takes no more, and waits until all that was taken has its outcome. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#batches.size > 0) await Promise.all(this.#batches);
  }

  #place(waiting: Waiting<Item, Result>): void {
    const following = this.#following.get(waiting.key);
    if (following !== undefined) {
      following.add(waiting);
      return;
    }
    this.#ready.add(waiting);
    this.#readySizeBytes += waiting.sizeBytes;
  }

  #remove(waiting: Waiting<Item, Result>): void {
    if (this.#ready.delete(waiting)) this.#readySizeBytes -= waiting.sizeBytes;
    else this.#following.get(waiting.key)?.delete(waiting);
  }

  #sendNext(): void {
    while (this.#maySend()) this.#sendBatch();
  }

  #maySend(): boolean {
    if (this.#holding === 0) return this.#ready.size > 0;
    const { worthSending, concurrency } = this.#bounds;
    const isWorthIt = this.#ready.size >= worthSending.count || this.#readySizeBytes >= worthSending.sizeBytes;
    return isWorthIt && this.#holding < concurrency;
  }

  #sendBatch(): void {
    const batch = this.#takeBatch();
    this.#holding++;
    let isHolding = true;
    const letGo = () => {
      if (isHolding) this.#holding--;
      isHolding = false;
      this.#sendNext();
    };
    const stall = setTimeout(letGo, stalledAfterMs);
    const settled = this.#settle(batch)
      // Who has its answer often has its next call ready: without the turn the first of them would go alone.
      .then(nextTurn)
      .finally(() => {
        clearTimeout(stall);
        this.#batches.delete(settled);
        this.#letFollow(batch);
        letGo();
      });
    this.#batches.add(settled);
  }

  #takeBatch(): Waiting<Item, Result>[] {
    const { count, sizeBytes } = this.#bounds.batch;
    const batch: Waiting<Item, Result>[] = [];
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
    for (const { key } of batch) if (!this.#following.has(key)) this.#following.set(key, new Set());
    this.#holdBack();
    return batch;
  }

  /** What found no room in a batch follows it where it has a key of it. */
  #holdBack(): void {
    for (const waiting of this.#ready) {
      if (!this.#following.has(waiting.key)) continue;
      this.#remove(waiting);
      this.#place(waiting);
    }
  }

  #letFollow(batch: readonly Waiting<Item, Result>[]): void {
    for (const { key } of batch) {
      const following = this.#following.get(key);
      this.#following.delete(key);
      for (const waiting of following ?? []) this.#place(waiting);
    }
  }

  async #settle(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const outcomes = await this.#send(batch.map(({ item }) => item));
      for (const [index, { resolve, reject }] of batch.entries()) {
        const outcome = outcomes[index];
        if (outcome === undefined) reject(new Error("the server answered fewer appends than were sent"));
        else if (outcome.ok) resolve(outcome.value);
        else reject(outcome.error);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
