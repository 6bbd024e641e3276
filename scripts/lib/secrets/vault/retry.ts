import { setTimeout as sleep } from "node:timers/promises";
import type { VaultFailure } from "./failure.ts";

/** How long which kind of trouble is waited for, in milliseconds. */
export interface RetryLimits {
  /** Slow, busy, rate-limited: what mends itself. */
  readonly timeoutMs: number;
  /** Nobody listens: a server that restarts is back soon. */
  readonly unreachableMs: number;
  /** A sealed Vault needs somebody who unseals it; a restart that unseals by itself takes a moment. */
  readonly sealedMs: number;
}

/** How to retry. */
export interface RetryOptions {
  readonly limits: RetryLimits;
  readonly signal?: AbortSignal | undefined;
  /** False for a request that must not be sent twice: only what Vault surely did not do is repeated. */
  readonly isRepeatable?: boolean;
}

const firstDelayMs = 50;
const maxDelayMs = 2000;

/**
 * Sends a request again while trouble may pass, with growing, jittered pauses.
 *
 * @param send what is sent; it is told how often it was sent before
 * @throws {VaultFailure} the last one, when it is of another kind or its time is over
 */
export async function withRetries<Result>(
  send: (attempt: number) => Promise<Result>,
  { limits, signal, isRepeatable = true }: RetryOptions,
): Promise<Result> {
  const startedAt = performance.now();
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await send(attempt);
    } catch (error) {
      const failure = error as VaultFailure;
      const pauseMs = Math.max(failure.retryAfterMs, backoffMs(attempt));
      const limitMs = waitLimitMs(failure, limits, isRepeatable);
      if (performance.now() - startedAt + pauseMs > limitMs) throw error;
      await sleep(pauseMs, undefined, { signal });
    }
  }
}

/** @returns for how long this failure is waited for; 0 when it will not pass */
export function waitLimitMs(failure: VaultFailure, limits: RetryLimits, isRepeatable: boolean): number {
  switch (failure.kind) {
    case "network":
      return isRepeatable || failure.code === "ECONNREFUSED" ? limits.unreachableMs : 0;
    case "timeout":
      return isRepeatable ? limits.timeoutMs : 0;
    case "http":
      return statusLimitMs(failure, limits, isRepeatable);
    default:
      return 0;
  }
}

/** 412: a replica that lags; 429: a quota; 400: KV is being upgraded, for a moment after it was mounted. */
function statusLimitMs({ status, text }: VaultFailure, limits: RetryLimits, isRepeatable: boolean): number {
  if (status === 503) return limits.sealedMs;
  if (status === 412 || status === 429) return limits.timeoutMs;
  if (status === 400) return /Upgrading from non-versioned/.test(text) ? limits.timeoutMs : 0;
  return status >= 500 && isRepeatable ? limits.timeoutMs : 0;
}

function backoffMs(attempt: number): number {
  const fullMs = Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(attempt, 10));
  return fullMs * (0.5 + Math.random() / 2);
}
