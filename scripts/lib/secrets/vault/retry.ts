import { backoffMs, retry } from "../../retry.ts";
import { VaultFailure } from "./failure.ts";

/** How long to retry each kind of failure, in milliseconds. */
export interface RetryLimits {
  /** Slow, busy or rate-limited: transient. */
  readonly timeoutMs: number;
  /** Nothing listens: if the server is restarting, it is back soon. */
  readonly unreachableMs: number;
  /** Sealed: someone has to unseal it, unless it is restarting and unseals itself. */
  readonly sealedMs: number;
}

/** How to send a request. */
export interface RequestRetryOptions {
  readonly limits: RetryLimits;
  readonly signal?: AbortSignal | undefined;
  /** False for a request that is not idempotent: it is retried only if Vault cannot have processed it. */
  readonly isRepeatable?: boolean;
}

const backoff = { firstMs: 50, maxMs: 2000 } as const;

/**
 * Retries a request while its failure is transient.
 *
 * @param send receives the number of the attempt, from 1
 * @throws {VaultFailure} the last failure, once its limit is reached
 */
export function withRetries<Result>(
  send: (attempt: number) => Promise<Result>,
  { limits, signal, isRepeatable = true }: RequestRetryOptions,
): Promise<Result> {
  const startedAt = performance.now();
  const pauseMs = (error: unknown, attempt: number) => {
    if (!(error instanceof VaultFailure)) return undefined;
    const pause = Math.max(error.retryAfterMs, backoffMs(attempt, backoff));
    const limitMs = retryLimitMs(error, limits, isRepeatable);
    return performance.now() - startedAt + pause > limitMs ? undefined : pause;
  };
  return retry(send, { pauseMs, signal });
}

/** @returns how long to retry this failure; 0 if it is permanent */
export function retryLimitMs(failure: VaultFailure, limits: RetryLimits, isRepeatable: boolean): number {
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

/** 412: a replica lags. 429: a quota is used up. 400: the KV engine was just mounted and is being upgraded. */
function statusLimitMs({ status, text }: VaultFailure, limits: RetryLimits, isRepeatable: boolean): number {
  if (status === 503) return limits.sealedMs;
  if (status === 412 || status === 429) return limits.timeoutMs;
  if (status === 400) return /Upgrading from non-versioned/.test(text) ? limits.timeoutMs : 0;
  return status >= 500 && isRepeatable ? limits.timeoutMs : 0;
}
