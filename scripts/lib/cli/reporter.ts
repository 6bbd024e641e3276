import { formatBytes, formatSeconds } from "./format.ts";
import type { Output } from "./output.ts";

/** What a step did. */
export interface StepResult {
  readonly isChanged: boolean;
  /** What was done or found, in a few words and without secrets. */
  readonly detail: string;
}

/** A finished step. */
export interface FinishedStep extends StepResult {
  readonly name: string;
  readonly durationMs: number;
}

/** Progress of a transfer. */
export interface TransferState {
  readonly table: string;
  readonly rowsDone: number;
  readonly bytesDone: number;
  /** An estimate. */
  readonly bytesTotal: number;
}

/** A line that is rewritten as the work progresses. Disposing of it removes the line. */
export interface LiveLine<State> extends Disposable {
  /** Undefined if nothing is shown, so that callers need not compute the state. */
  readonly show: ((state: State) => void) | undefined;
}

/** Earlier, the rate would reflect the start-up rather than the transfer. */
const minSecondsToEstimate = 1;

/** @returns `event_store.domain_event  41000 rows, 12.3 MB of about 45.6 MB, 6.2 MB/s, 5 s left` */
export function describeTransfer({ table, rowsDone, bytesDone, bytesTotal }: TransferState, seconds: number): string {
  const amounts = `${formatBytes(bytesDone)} of about ${formatBytes(Math.max(bytesTotal, bytesDone))}`;
  const done = `${table}  ${rowsDone} rows, ${amounts}`;
  if (seconds < minSecondsToEstimate || (bytesDone === 0 && bytesTotal > 0)) return done;
  const rate = bytesDone / seconds;
  const left = Math.max(bytesTotal - bytesDone, 0) / Math.max(rate, 1);
  return `${done}, ${formatBytes(rate)}/s, ${formatSeconds(left)} left`;
}

const spinnerFrames = ["◐", "◓", "◑", "◒"];
const spinnerIntervalMs = 80;

/** Reports the progress of the work on stderr. */
export class Reporter {
  readonly #output: Output;
  readonly #now: () => number;

  constructor(output: Output, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#now = now;
  }

  /**
   * Runs one step and prints its result on one line; on a terminal, shows a spinner meanwhile.
   *
   * @param name one word, the same in every run
   */
  async step(name: string, work: () => Promise<StepResult>): Promise<FinishedStep> {
    const startedAt = this.#now();
    const stopSpinner = this.#spin(name);
    try {
      const result = await work();
      const step = { name, ...result, durationMs: Math.round(this.#now() - startedAt) };
      stopSpinner();
      this.#output.progress(this.#line(step));
      return step;
    } finally {
      stopSpinner();
    }
  }

  /** Shows the table, rows, bytes, rate and remaining time of a transfer, on a terminal only. */
  transfer(name: string): LiveLine<TransferState> {
    const line = this.liveLine();
    const { show } = line;
    let startedAt: number | undefined;
    const describe = (state: TransferState) => {
      startedAt ??= this.#now();
      return `${name}  ${describeTransfer(state, (this.#now() - startedAt) / 1000)}`;
    };
    return { ...line, show: show && ((state) => show(() => describe(state))) };
  }

  /** Shows one line of text, on a terminal only. The text is computed only if it is shown. */
  liveLine(): LiveLine<() => string> {
    const { isInteractive, isQuiet } = this.#output.options;
    let shownAt = Number.NEGATIVE_INFINITY;
    const show = (text: () => string) => {
      const now = this.#now();
      if (now - shownAt < spinnerIntervalMs) return;
      shownAt = now;
      this.#output.rewrite(text());
    };
    return {
      show: isInteractive && !isQuiet ? show : undefined,
      [Symbol.dispose]: () => void (Number.isFinite(shownAt) && this.#output.rewrite("")),
    };
  }

  info(text: string): void {
    this.#output.progress(text);
  }

  /** Reports a detail that only `--verbose` shows. */
  verbose(text: string): void {
    this.#output.verbose(text);
  }

  /** Reports a problem that does not stop the run. */
  warn(text: string): void {
    this.#output.warn(text);
  }

  #line(step: FinishedStep): string {
    if (!this.#output.options.isInteractive) {
      return `${step.name}: ${step.detail} (${step.durationMs} ms)`;
    }
    const mark = step.isChanged ? this.#output.style("green", "✔") : this.#output.style("gray", "·");
    const duration = this.#output.style("gray", `${step.durationMs} ms`);
    return `${mark} ${step.name.padEnd(11)} ${step.detail}  ${duration}`;
  }

  #spin(name: string): () => void {
    const { isInteractive, isQuiet } = this.#output.options;
    if (!isInteractive || isQuiet) return () => {};
    let frame = 0;
    const draw = () => this.#output.rewrite(`${spinnerFrames[frame++ % spinnerFrames.length]} ${name} `);
    draw();
    const timer = setInterval(draw, spinnerIntervalMs);
    timer.unref();
    let isSpinning = true;
    return () => {
      if (!isSpinning) return;
      isSpinning = false;
      clearInterval(timer);
      this.#output.rewrite("");
    };
  }
}
