import { clearTimeout, setTimeout } from "node:timers";
import { untilAborted } from "./waiting.ts";

/** The limits of a turn. */
export interface TurnLimits {
  /** A turn that takes longer no longer keeps others waiting. */
  readonly turnMs: number;
  /** Ends the wait for a turn. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lets work on the same key take turns, in the order of the calls. Different keys do not wait for each other.
 *
 * A key takes memory only while there is work on it.
 */
export class Turns {
  /** For each key, when the last turn ends. */
  readonly #ends = new Map<string, Promise<void>>();

  /**
   * Runs work when its turn has come.
   *
   * @throws the error of the work, or the reason of the signal if it is aborted before the turn
   */
  async take<Result>(key: string, work: () => Promise<Result>, { turnMs, signal }: TurnLimits): Promise<Result> {
    const previous = this.#ends.get(key);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const last = previous === undefined ? ended : previous.then(() => ended);
    this.#ends.set(key, last);
    last.then(() => {
      if (this.#ends.get(key) === last) this.#ends.delete(key);
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      if (previous !== undefined) await untilAborted(previous, signal);
      timer = setTimeout(end, turnMs);
      return await work();
    } finally {
      clearTimeout(timer);
      end();
    }
  }
}
