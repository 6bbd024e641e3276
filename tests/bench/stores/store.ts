import type { SampleEvent, Stream } from "../events.ts";

/** An event store that is measured, with a pool of connections of its own. */
export interface MeasuredStore extends AsyncDisposable {
  readonly name: string;
  /** Appends to a stream that is at `stream.version`, and checks that where the store can. */
  append(stream: Stream, events: readonly SampleEvent[]): Promise<void>;
}

/** A store of which reading is measured too. */
export interface ReadableStore extends MeasuredStore {
  /**
   * Reads the events of a stream, with their data as objects.
   *
   * @returns how many
   */
  readStream(stream: Stream): Promise<number>;
}

/** How many events are fetched at once, by each store. */
export const pageSize = 1_000;
