import { setTimeout as sleep } from "node:timers/promises";
import { runLine } from "../cli/run-line.ts";
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

/** A target, and how long we waited for it. */
export interface WaitReport {
  readonly target: string;
  readonly tries: number;
  readonly waitedMs: number;
  /** The last reason to wait; null if the first probe succeeded. */
  readonly reason: string | null;
}

/** A longer probe is abandoned: if a server hangs, the connection stays useless even after the server has recovered. */
const probeTimeoutMs = 5000;
/** In JavaScript, a longer timer fires at once. */
const maxTimerMs = 2 ** 31 - 1;
const firstDelayMs = 50;
const lastDelayMs = 1000;
/** The delay as a fraction of the time waited so far: delays grow, but none adds much to the whole wait. */
const delayFraction = 0.05;

/**
 * Waits until all targets are usable, or one of them, or none. Probes all targets concurrently.
 *
 * @returns a report for each target that was waited for successfully
 * @throws {ScriptError} `TIMEOUT` (exit 124) with the last reason of each target, `MISSING` (exit 3), or at once any
 * error of a probe
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

/** The time limit was reached, or the wait was cancelled. */
class WaitOver extends Error {}

/** The wait for one target. */
class Wait {
  readonly #target: WaitTarget;
  readonly #options: WaitOptions;
  readonly #signal: AbortSignal;
  readonly #startedAt = performance.now();
  #tries = 0;
  #reason: string | null = null;
  #fix: string | undefined;
  #missingSince: number | undefined;

  constructor(target: WaitTarget, options: WaitOptions, signal: AbortSignal) {
    this.#target = target;
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<WaitReport> {
    for (;;) {
      this.#tries++;
      const finding = await this.#probe();
      if (finding.isUsable !== (this.#options.invert === true)) return this.report();
      this.#remember(finding.isUsable ? notYet("it is still usable") : finding);
      await sleep(this.#delayMs(), undefined, { signal: this.#signal }).catch(() => {
        throw new WaitOver();
      });
    }
  }

  /** The instruction of the last finding. */
  get fix(): string | undefined {
    return this.#fix;
  }

  report(): WaitReport {
    const waitedMs = Math.round(this.#waitedMs());
    return { target: this.#target.name, tries: this.#tries, waitedMs, reason: this.#reason };
  }

  async #probe(): Promise<Finding> {
    const abandon = new AbortController();
    const timer = setTimeout(() => abandon.abort(), probeTimeoutMs);
    const { promise, resolve, reject } = Promise.withResolvers<Finding>();
    const end = () => reject(new WaitOver());
    this.#signal.addEventListener("abort", end, { once: true });
    abandon.signal.addEventListener("abort", () => resolve(notYet(`no response within ${probeTimeoutMs / 1000} s`)));
    try {
      this.#target.probe(AbortSignal.any([this.#signal, abandon.signal])).then(resolve, reject);
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
    this.#fix = finding.fix;
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
  const lines = reports.map(
    ({ target, reason, tries }) => `${target}: ${reason ?? "no response yet"} (${count(tries)})`,
  );
  const fixes = new Set(waits.flatMap(({ fix }) => fix ?? []));
  return new ScriptError({
    code: "TIMEOUT",
    exitCode: exitCodes.timeout,
    message: `${invert === true ? "Still usable" : "Not usable"} after ${timeoutMs / 1000} s`,
    why: lines.join("\n"),
    fix: [...fixes, "Check the logs of these targets, or set a longer --timeout, such as 5m."].join("\n"),
    data: { targets: reports },
  });
}

function stillMissing({ target, tries, reason }: WaitReport): ScriptError {
  return new ScriptError({
    code: "MISSING",
    exitCode: exitCodes.notReady,
    message: `${target} does not accept this login, and nothing seems to be setting it up`,
    why: `${reason} (${count(tries)})`,
    fix: `Run ${runLine("bootstrap")}, which creates the database and the role.`,
  });
}

function count(tries: number): string {
  return tries === 1 ? "1 try" : `${tries} tries`;
}
