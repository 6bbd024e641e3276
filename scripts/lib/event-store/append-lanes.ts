import type { AppendRow, PreparedAppend } from "./append.ts";
import { type ItemOutcome, type QueueBounds, WorkQueue } from "./work-queue.ts";

/** Sends a batch of appends, and reports the outcome of each. */
export type SendAppends = (appends: readonly PreparedAppend[]) => Promise<readonly ItemOutcome<AppendRow>[]>;

/** How appends are divided into lanes. */
export interface LaneOptions {
  /** Whether an append takes the slow lane. */
  readonly isSlow: (append: PreparedAppend) => boolean;
  readonly sendFast: SendAppends;
  /** Also gets appends that could have taken the fast lane. */
  readonly sendSlow: SendAppends;
  readonly bounds: QueueBounds;
}

/** An append in a lane. */
interface LaneItem {
  readonly append: PreparedAppend;
  isSent: boolean;
  /** Called once it no longer is in the lane. */
  readonly onLeft: () => void;
}

interface Lane {
  readonly queue: WorkQueue<LaneItem, AppendRow>;
  /** Number of appends of the stream in it. */
  count: number;
}

/**
 * Two queues of appends, so that those that projections handle do not delay the others. While a stream has appends in
 * one of them, its next ones follow there, so that they keep their order.
 */
export class AppendLanes {
  readonly #isSlow: LaneOptions["isSlow"];
  readonly #fast: WorkQueue<LaneItem, AppendRow>;
  readonly #slow: WorkQueue<LaneItem, AppendRow>;
  /** By stream. */
  readonly #lanes = new Map<string, Lane>();

  constructor({ isSlow, sendFast, sendSlow, bounds }: LaneOptions) {
    this.#isSlow = isSlow;
    const send = (appends: readonly PreparedAppend[]) => (appends.some(isSlow) ? sendSlow(appends) : sendFast(appends));
    this.#fast = new WorkQueue((items) => sendItems(items, send), bounds);
    this.#slow = new WorkQueue((items) => sendItems(items, send), bounds);
  }

  /** Adds an append to its lane, as `WorkQueue.add()` does. */
  add(key: string, append: PreparedAppend, sizeBytes: number, signal?: AbortSignal): Promise<AppendRow> {
    const lane = this.#lanes.get(key) ?? { queue: this.#isSlow(append) ? this.#slow : this.#fast, count: 0 };
    lane.count++;
    this.#lanes.set(key, lane);
    const onLeft = () => {
      if (--lane.count === 0) this.#lanes.delete(key);
    };
    const item = { append, isSent: false, onLeft };
    const result = lane.queue.add(key, item, sizeBytes, signal);
    // Cancelled, or refused because the store is closed. An append that was sent leaves with its outcome.
    result.catch(() => item.isSent || onLeft());
    return result;
  }

  async close(): Promise<void> {
    await Promise.all([this.#fast.close(), this.#slow.close()]);
  }
}

async function sendItems(items: readonly LaneItem[], send: SendAppends): Promise<readonly ItemOutcome<AppendRow>[]> {
  for (const item of items) item.isSent = true;
  try {
    return await send(items.map(({ append }) => append));
  } finally {
    for (const { onLeft } of items) onLeft();
  }
}
