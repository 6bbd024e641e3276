import { clearTimeout, setTimeout } from "node:timers";

/**
 * Waits for a promise until the signal is aborted, and for `graceMs` after that.
 *
 * @throws the reason of the signal; a rejection that comes later is ignored
 */
export async function untilAborted<Result>(
  work: Promise<Result>,
  signal: AbortSignal | undefined,
  graceMs = 0,
): Promise<Result> {
  if (signal === undefined) return await work;
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const giveUp = () => reject(signal.reason);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => {
    if (graceMs === 0) giveUp();
    else timer = setTimeout(giveUp, graceMs);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, expired]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    clearTimeout(timer);
  }
}

/** A statement that was sent, or waits for a connection. */
interface Statement<Result> extends Promise<Result> {
  cancel(): void;
}

const cancelAfterMs = 1_000;

/**
 * Waits for a statement until the signal is aborted, then abandons it. If it still runs a second later, it is
 * cancelled: nearly all end sooner, and a request to cancel takes a connection of its own.
 *
 * @throws the reason of the signal
 */
export async function answerUntilAborted<Result>(
  statement: Statement<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  try {
    return await untilAborted(statement, signal);
  } catch (error) {
    if (signal?.aborted === true) cancelLater(statement);
    throw error;
  }
}

function cancelLater(statement: Statement<unknown>): void {
  const timer = setTimeout(() => statement.cancel(), cancelAfterMs);
  timer.unref();
  const settle = () => clearTimeout(timer);
  statement.then(settle, settle);
}

/** Waits for a promise, but no longer than `limitMs`. */
export async function waitAtMost(limitMs: number, work: Promise<unknown>): Promise<void> {
  const { promise: expired, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  try {
    await Promise.race([work, expired]);
  } finally {
    clearTimeout(timer);
  }
}
