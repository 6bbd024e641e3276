import { errorCode, messageWithCode } from "../postgres/failure.ts";
import type { LogDetails, Logger } from "./logger.ts";

/** How long callers retry if the server has never answered: the address is probably wrong. */
const firstAnswerMs = 5_000;
/** How often a lasting outage is reported. */
const repeatMs = 10_000;
/** A connection lost this soon after an outage belongs to it: the server closes connections one by one. */
const settleMs = 1_000;

interface Outage {
  readonly startedAt: number;
  warnedAt: number;
  /** Whether its end is still to be reported. */
  isReported: boolean;
  endedAt: number | undefined;
}

/** The retries of one caller. */
export interface Retries {
  /**
   * Call this before each pause.
   *
   * @throws the error, if the server has never answered and these retries have lasted about 5 seconds
   */
  failed(error: unknown): void;
  /** Call this after each success. */
  succeeded(): void;
}

/** What a store knows about its server: whether it has ever answered, and whether there is an outage. */
export class Availability {
  readonly #logger: Logger;
  #hasAnswered = false;
  #outage: Outage | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** A session was established, or a retry succeeded. */
  answered(): void {
    this.#hasAnswered = true;
    const outage = this.#outage;
    if (outage === undefined || outage.endedAt !== undefined) return;
    outage.endedAt = performance.now();
    if (!outage.isReported) return;
    outage.isReported = false;
    const seconds = Number(((outage.endedAt - outage.startedAt) / 1_000).toFixed(1));
    this.#logger.info(`the server answers again, after ${seconds} s`, { seconds });
  }

  /** An established session ended unexpectedly. */
  sessionLost(reason: Error): void {
    this.#report("lost a connection to the server", reason);
  }

  /** Starts the retries of one caller. */
  retries(): Retries {
    let failingSince: number | undefined;
    return {
      failed: (error) => {
        failingSince ??= performance.now();
        if (!this.#hasAnswered && performance.now() - failingSince >= firstAnswerMs) throw error;
        this.#report("waiting for the server", error);
      },
      succeeded: () => {
        if (failingSince !== undefined) this.answered();
        failingSince = undefined;
      },
    };
  }

  #report(what: string, error: unknown): void {
    const now = performance.now();
    const outage = this.#currentOutage(now);
    if (now - outage.warnedAt < repeatMs) return;
    outage.warnedAt = now;
    outage.isReported = true;
    this.#logger.warn(`${what}: ${reasonText(error)}`, reasonDetails(error));
  }

  #currentOutage(now: number): Outage {
    const known = this.#outage;
    if (known !== undefined && (known.endedAt === undefined || now - known.endedAt < settleMs)) {
      known.endedAt = undefined;
      return known;
    }
    this.#outage = { startedAt: now, warnedAt: Number.NEGATIVE_INFINITY, isReported: false, endedAt: undefined };
    return this.#outage;
  }
}

/** @returns the message and the code of an error, and nothing else: the driver's errors contain parameters */
export function reasonText(error: unknown): string {
  return (error instanceof Error ? messageWithCode(error) : String(error)).trim();
}

/** @returns the code of an error, for a log */
export function reasonDetails(error: unknown): LogDetails {
  const code = errorCode(error);
  return code === "" ? {} : { code };
}
