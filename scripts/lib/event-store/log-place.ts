import type { Checkpoint } from "./event.ts";

/** What a checkpoint contains: a place in the log, and what was there when it was read. */
export interface LogPlace {
  readonly position: bigint;
  /** The event at the position; null if it is unknown. */
  readonly eventId: string | null;
  /** The epoch of the log; null if it is unknown. */
  readonly epochId: string | null;
}

/** @returns the place in the form in which readers store it */
export function makeCheckpoint({ position, eventId, epochId }: LogPlace): Checkpoint {
  const parts = [`${position}`, eventId, eventId === null ? null : epochId].filter((part) => part !== null);
  return parts.join("/") as Checkpoint;
}
