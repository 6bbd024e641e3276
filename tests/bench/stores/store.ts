import type { SampleEvent, Stream } from "../events.ts";

/** An event store to measure, with its own connection pool. */
export interface MeasuredStore extends AsyncDisposable {
  readonly name: string;
  /** Appends to a stream at `stream.version`, and checks that version if the store can. */
  append(stream: Stream, events: readonly SampleEvent[]): Promise<void>;
}

/** A store whose reading is measured too. */
export interface ReadableStore extends MeasuredStore {
  /**
   * Reads the events of a stream, with their data as objects.
   *
   * @returns the number of events
   */
  readStream(stream: Stream): Promise<number>;
}

/** Events that each store fetches at once. */
export const pageSize = 1_000;
