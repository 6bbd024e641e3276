import { formatBytes, formatSeconds } from "./format.ts";
import type { Output } from "./output.ts";

/** What a step did. */
export interface StepResult {
  /** Whether anything is different from before. */
  readonly isChanged: boolean;
  /** What was done or found, in a few words, without secrets. */
  readonly detail: string;
}

/** A step that has ended. */
export interface FinishedStep extends StepResult {
  readonly name: string;
  readonly durationMs: number;
}

/** How far a transfer has come. */
export interface TransferState {
  readonly table: string;
  readonly rowsDone: number;
  readonly bytesDone: number;
  /** An estimate. */
  readonly bytesTotal: number;
}

/** A transfer that may be shown. */
export interface Transfer extends Disposable {
  /** Shows a state; undefined where nothing is shown, so that nobody has to count what nobody sees. */
  readonly show: ((state: TransferState) => void) | undefined;
}

/** @returns `event_store.domain_event  41000 rows, 12.3 MB of about 45.6 MB, 61.2 MB/s, 1 s left` */
export function describeTransfer({ table, rowsDone, bytesDone, bytesTotal }: TransferState, seconds: number): string {
  const rate = bytesDone / Math.max(seconds, 0.001);
  const left = Math.max(bytesTotal - bytesDone, 0) / Math.max(rate, 1);
  const amounts = `${formatBytes(bytesDone)} of about ${formatBytes(Math.max(bytesTotal, bytesDone))}`;
  return `${table}  ${rowsDone} rows, ${amounts}, ${formatBytes(rate)}/s, ${formatSeconds(left)} left`;
}

const spinnerFrames = ["◐", "◓", "◑", "◒"];
const spinnerIntervalMs = 80;

/** Tells on stderr how far the work has come. */
export class Reporter {
  readonly #output: Output;
  readonly #now: () => number;

  constructor(output: Output, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#now = now;
  }

  /**
   * Runs one step and prints its line: with a spinner on a terminal, plain elsewhere.
   *
   * @param name one word, the same in every run
   * @param work does the step; what it throws is passed on
   * @returns the step with its duration in milliseconds
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

  /**
   * Shows how far a transfer has come: table, rows, bytes, rate, and the time that is left. Only on a terminal.
   *
   * @returns shows a state when it is given one, and wipes it away when it is disposed of
   */
  transfer(name: string): Transfer {
    const { isInteractive, isQuiet } = this.#output.options;
    const startedAt = this.#now();
    let shownAt = 0;
    const show = (state: TransferState) => {
      const now = this.#now();
      if (now - shownAt < spinnerIntervalMs) return;
      shownAt = now;
      const line = describeTransfer(state, (now - startedAt) / 1000);
      this.#output.raw(`\r\u001b[2K${name}  ${line}`);
    };
    const wipe = () => (shownAt > 0 ? this.#output.raw("\r\u001b[2K") : undefined);
    return { show: isInteractive && !isQuiet ? show : undefined, [Symbol.dispose]: () => void wipe() };
  }

  /** Tells something that takes no time. */
  info(text: string): void {
    this.#output.progress(text);
  }

  /** Tells something that only `--verbose` shows. */
  verbose(text: string): void {
    this.#output.verbose(text);
  }

  /** Tells something that needs attention but stops nothing. */
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
    const draw = () => this.#output.raw(`\r${spinnerFrames[frame++ % spinnerFrames.length]} ${name} `);
    draw();
    const timer = setInterval(draw, spinnerIntervalMs);
    timer.unref();
    let isSpinning = true;
    return () => {
      if (!isSpinning) return;
      isSpinning = false;
      clearInterval(timer);
      this.#output.raw("\r\u001b[2K");
    };
  }
}
