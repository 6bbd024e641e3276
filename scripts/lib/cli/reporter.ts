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
