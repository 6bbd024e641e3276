import { setTimeout as sleep } from "node:timers/promises";

/** How long to wait, and what cancels the wait. */
export interface WaitLimit {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** How to poll. */
export interface PollOptions extends WaitLimit {
  /** The pause after each probe; `attempt` counts from 0. */
  readonly intervalMs: number | ((attempt: number) => number);
}

/**
 * Calls a probe until it finds something, at least once.
 *
 * @param probe returns undefined to be called again; an error that it throws ends the wait
 * @returns undefined if nothing was found within `timeoutMs`
 * @throws the reason of the signal
 */
export async function pollUntil<Found>(
  probe: () => Promise<Found | undefined> | Found | undefined,
  { timeoutMs, intervalMs, signal }: PollOptions,
): Promise<Found | undefined> {
  const deadline = performance.now() + timeoutMs;
  for (let attempt = 0; ; attempt++) {
    const found = await probe();
    if (found !== undefined) return found;
    if (performance.now() >= deadline) return undefined;
    await pause(typeof intervalMs === "number" ? intervalMs : intervalMs(attempt), signal);
  }
}

/** Which errors to retry, and when. */
export interface RetryOptions {
  /**
   * @param attempt how often the work has failed, from 1
   * @returns the pause before the next attempt; undefined to give up and throw the error
   */
  readonly pauseMs: (error: unknown, attempt: number) => number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs work, and repeats it after a failure for as long as `pauseMs` asks for another attempt.
 *
 * @throws the last error, or the reason of the signal
 */
export async function retry<Result>(
  work: (attempt: number) => Promise<Result>,
  { pauseMs, signal }: RetryOptions,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      const delayMs = pauseMs(error, attempt);
      if (delayMs === undefined) throw error;
      await pause(delayMs, signal);
    }
  }
}

/** Rejects with the signal's reason; the timer itself would wrap it in an AbortError. */
async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(delayMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
}

/** Bounds of a growing pause. */
export interface Backoff {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Exponential backoff with jitter: half of the pause to all of it, so that clients do not retry in lockstep. */
export function backoffMs(attempt: number, { firstMs, maxMs }: Backoff): number {
  return Math.min(maxMs, firstMs * 2 ** Math.min(attempt - 1, 30)) * (0.5 + Math.random() / 2);
}
