import type { Reporter } from "../cli/reporter.ts";

/** Shows how far a seed is: on a terminal as a line that is rewritten, elsewhere as a line every few seconds. */
export class SeedProgress implements Disposable {
  readonly #describe: (done: number, perSecond: number) => string;
  readonly #reporter: Reporter;
  readonly #line: ReturnType<Reporter["liveLine"]>;
  readonly #startedAt = performance.now();
  #reportedAt = this.#startedAt;

  /** @param describe gets how much is done, and how much per second */
  constructor(reporter: Reporter, describe: (done: number, perSecond: number) => string) {
    this.#describe = describe;
    this.#reporter = reporter;
    this.#line = reporter.liveLine();
  }

  show(done: number): void {
    const now = performance.now();
    const text = () => this.#describe(done, Math.round(done / Math.max((now - this.#startedAt) / 1000, 0.001)));
    this.#line.show?.(text);
    if (this.#line.show !== undefined || now - this.#reportedAt < intervalMs) return;
    this.#reportedAt = now;
    this.#reporter.info(text());
  }

  [Symbol.dispose](): void {
    this.#line[Symbol.dispose]();
  }
}

const intervalMs = 2_000;
