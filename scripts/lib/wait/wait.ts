import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Finding, notYet, type Obstacle, type WaitTarget } from "./target.ts";

/** How to wait. */
export interface WaitOptions {
  readonly timeoutMs: number;
  /** Wait until the targets are *not* usable. */
  readonly invert?: boolean;
  /** One of the targets is enough. */
  readonly any?: boolean;
  /** How long a missing database or role is waited for, in milliseconds; @default 5000 */
  readonly graceMs?: number;
  readonly signal: AbortSignal;
  /** Told of each reason that is another than the last one. */
  readonly onReason?: (target: string, reason: string) => void;
}

/** What was waited for, and how long. */
export interface WaitReport {
  readonly target: string;
  readonly tries: number;
  readonly waitedMs: number;
  /** The last reason for going on; null when there was none. */
  readonly reason: string | null;
}

/** A look that takes longer is given up: a connection to a server that hangs is worth nothing when it has come back. */
const lookTimeoutMs = 5000;
/** JavaScript ends a longer timer at once. */
const longestTimerMs = 2 ** 31 - 1;
const firstDelayMs = 50;
const lastDelayMs = 1000;
/** A delay is this part of the time waited so far, so that delays grow geometrically and none is long against the whole. */
const delayShare = 0.05;

/**
 * Waits until every target is usable (or any, or none), looking at all of them at once.
 *
 * @returns a report of each target that was reached
 * @throws {ScriptError} `TIMEOUT` (exit 124) with the last reason for each; or at once what a look throws
 */
export async function waitForTargets(
  targets: readonly WaitTarget[],
  options: WaitOptions,
): Promise<readonly WaitReport[]> {
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), Math.min(options.timeoutMs, longestTimerMs));
  const signal = AbortSignal.any([ending.signal, options.signal]);
  const waits = targets.map((target) => new Wait(target, options, signal));
  try {
    const ends = waits.map((wait) => wait.run());
    return options.any === true ? [await firstOf(ends)] : await Promise.all(ends);
  } catch (error) {
    options.signal.throwIfAborted();
    throw error instanceof Late ? timedOut(waits, options) : error;
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
}

/** The time is over, or somebody else has ended the waiting. */
class Late extends Error {}

/** The waiting for one target. */
class Wait {
  readonly #target: WaitTarget;
  readonly #options: WaitOptions;
  readonly #signal: AbortSignal;
  readonly #startedAt = performance.now();
  #tries = 0;
  #reason: string | null = null;
  #missingSince: number | undefined;

  constructor(target: WaitTarget, options: WaitOptions, signal: AbortSignal) {
    this.#target = target;
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<WaitReport> {
    for (;;) {
      this.#tries++;
      const finding = await this.#look();
      if (finding.isUsable !== (this.#options.invert === true)) return this.report();
      this.#remember(finding.isUsable ? notYet("it is still usable") : finding);
      await sleep(this.#delayMs(), undefined, { signal: this.#signal }).catch(() => {
        throw new Late();
      });
    }
  }

  report(): WaitReport {
    const waitedMs = Math.round(this.#waitedMs());
    return { target: this.#target.name, tries: this.#tries, waitedMs, reason: this.#reason };
  }

  async #look(): Promise<Finding> {
    const giveUp = new AbortController();
    const timer = setTimeout(() => giveUp.abort(), lookTimeoutMs);
    const { promise, resolve, reject } = Promise.withResolvers<Finding>();
    const end = () => reject(new Late());
    this.#signal.addEventListener("abort", end, { once: true });
    giveUp.signal.addEventListener("abort", () => resolve(notYet(`no answer within ${lookTimeoutMs / 1000} s`)));
    try {
      this.#target.look(AbortSignal.any([this.#signal, giveUp.signal])).then(resolve, reject);
      if (this.#signal.aborted) end();
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener("abort", end);
    }
  }

  #remember(finding: Obstacle): void {
    if (finding.reason !== this.#reason) this.#options.onReason?.(this.#target.name, finding.reason);
    this.#reason = finding.reason;
    this.#missingSince = finding.isMissing === true ? (this.#missingSince ?? this.#waitedMs()) : undefined;
    const isOver = this.#waitedMs() - (this.#missingSince ?? this.#waitedMs()) >= (this.#options.graceMs ?? 5000);
    if (isOver) throw stillMissing(this.report());
  }

  /** Jitter keeps clients that were started together from coming together. */
  #delayMs(): number {
    const delayMs = Math.min(Math.max(this.#waitedMs() * delayShare, firstDelayMs), lastDelayMs);
    return delayMs * (0.5 + Math.random() / 2);
  }

  #waitedMs(): number {
    return performance.now() - this.#startedAt;
  }
}

async function firstOf(ends: readonly Promise<WaitReport>[]): Promise<WaitReport> {
  return await Promise.any(ends).catch((error: AggregateError) => {
    throw error.errors.find((one) => one instanceof Late) ?? error.errors[0];
  });
}

function timedOut(waits: readonly Wait[], { timeoutMs, invert }: WaitOptions): ScriptError {
  const reports = waits.map((wait) => wait.report());
  const lines = reports.map(({ target, reason, tries }) => `${target}: ${reason ?? "no answer yet"} (${count(tries)})`);
  return new ScriptError({
    code: "TIMEOUT",
    exitCode: exitCodes.timeout,
    message: `${invert === true ? "Still usable" : "Not usable"} after ${timeoutMs / 1000} s`,
    why: lines.join("\n"),
    fix: "Look at the log of what did not come, or wait longer: --timeout 5m",
    data: { targets: reports },
  });
}

function stillMissing({ target, tries, reason }: WaitReport): ScriptError {
  return new ScriptError({
    code: "MISSING",
    exitCode: exitCodes.notReady,
    message: `${target} lets nobody in, and nobody seems to be at work on that`,
    why: `${reason} (${count(tries)})`,
    fix: "Make the database and the role first: bun run bootstrap",
  });
}

function count(tries: number): string {
  return tries === 1 ? "1 try" : `${tries} tries`;
}
