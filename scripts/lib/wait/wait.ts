import { setTimeout as sleep } from "node:timers/promises";
import { exitCodes, ScriptError } from "../cli/script-error.ts";
import { type Finding, notYet, type Obstacle, type WaitTarget } from "./target.ts";

/** How to wait. */
export interface WaitOptions {
  readonly timeoutMs: number;
  /** Wait until the targets are *not* usable. */
  readonly invert?: boolean;
  /** Wait for one of the targets only. */
  readonly any?: boolean;
  /** How long to wait for a missing database or role; @default 5000 */
  readonly graceMs?: number;
  readonly signal: AbortSignal;
  /** Called whenever the reason of a target changes. */
  readonly onReason?: (target: string, reason: string) => void;
}

/** A target, and how long the wait for it took. */
export interface WaitReport {
  readonly target: string;
  readonly tries: number;
  readonly waitedMs: number;
  /** The last reason to wait; null if the first look succeeded. */
  readonly reason: string | null;
}

/** A longer look is abandoned: if a server hangs, the connection is still useless after the server has recovered. */
const lookTimeoutMs = 5000;
/** A longer timer fires at once in JavaScript. */
const maxTimerMs = 2 ** 31 - 1;
const firstDelayMs = 50;
const lastDelayMs = 1000;
/** The delay as a part of the time waited so far: delays grow geometrically, but none adds much to the whole wait. */
const delayFraction = 0.05;

/**
 * Waits until all targets are usable, or one of them, or none. Looks at all targets concurrently.
 *
 * @returns a report for each target that was reached
 * @throws {ScriptError} `TIMEOUT` (exit 124) with the last reason of each target, `MISSING` (exit 3), or at once what a
 * look throws
 */
export async function waitForTargets(
  targets: readonly WaitTarget[],
  options: WaitOptions,
): Promise<readonly WaitReport[]> {
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), Math.min(options.timeoutMs, maxTimerMs));
  const signal = AbortSignal.any([ending.signal, options.signal]);
  const waits = targets.map((target) => new Wait(target, options, signal));
  try {
    const runs = waits.map((wait) => wait.run());
    return options.any === true ? [await firstOf(runs)] : await Promise.all(runs);
  } catch (error) {
    options.signal.throwIfAborted();
    throw error instanceof WaitOver ? timedOut(waits, options) : error;
  } finally {
    clearTimeout(timer);
    ending.abort();
  }
}

/** The time is up, or the wait was ended from outside. */
class WaitOver extends Error {}

/** The wait for one target. */
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
        throw new WaitOver();
      });
    }
  }

  report(): WaitReport {
    const waitedMs = Math.round(this.#waitedMs());
    return { target: this.#target.name, tries: this.#tries, waitedMs, reason: this.#reason };
  }

  async #look(): Promise<Finding> {
    const abandon = new AbortController();
    const timer = setTimeout(() => abandon.abort(), lookTimeoutMs);
    const { promise, resolve, reject } = Promise.withResolvers<Finding>();
    const end = () => reject(new WaitOver());
    this.#signal.addEventListener("abort", end, { once: true });
    abandon.signal.addEventListener("abort", () => resolve(notYet(`no answer within ${lookTimeoutMs / 1000} s`)));
    try {
      this.#target.look(AbortSignal.any([this.#signal, abandon.signal])).then(resolve, reject);
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

  /** Jitter spreads the requests of clients that were started together. */
  #delayMs(): number {
    const delayMs = Math.min(Math.max(this.#waitedMs() * delayFraction, firstDelayMs), lastDelayMs);
    return delayMs * (0.5 + Math.random() / 2);
  }

  #waitedMs(): number {
    return performance.now() - this.#startedAt;
  }
}

async function firstOf(runs: readonly Promise<WaitReport>[]): Promise<WaitReport> {
  return await Promise.any(runs).catch((error: AggregateError) => {
    throw error.errors.find((one) => one instanceof WaitOver) ?? error.errors[0];
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
    fix: "Check the logs of the targets above, or wait longer: --timeout 5m",
    data: { targets: reports },
  });
}

function stillMissing({ target, tries, reason }: WaitReport): ScriptError {
  return new ScriptError({
    code: "MISSING",
    exitCode: exitCodes.notReady,
    message: `${target} does not accept this login, and nothing seems to be setting it up`,
    why: `${reason} (${count(tries)})`,
    fix: "Run bun run bootstrap, which creates the database and the role.",
  });
}

function count(tries: number): string {
  return tries === 1 ? "1 try" : `${tries} tries`;
}
