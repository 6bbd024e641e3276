import { InvalidInput } from "./errors.ts";
import type { Checkpoint, RecordedEvent } from "./event.ts";

/** The beginning of the log. */
export const logStart: Checkpoint = makeCheckpoint(0n);

/** @returns the checkpoint of a reader that has handled everything up to this event */
export function checkpointAfter(event: Pick<RecordedEvent, "position">): Checkpoint {
  return makeCheckpoint(event.position);
}

/** @internal Only this file knows what a checkpoint looks like: here one position, on several servers one for each. */
export function makeCheckpoint(position: bigint): Checkpoint {
  return `${position}` as Checkpoint;
}

/**
 * @internal
 * @throws {InvalidInput} when it is none
 */
export function checkpointPosition(checkpoint: Checkpoint): bigint {
  if (/^\d{1,18}$/.test(checkpoint)) return BigInt(checkpoint);
  throw new InvalidInput(`${JSON.stringify(checkpoint)} is no checkpoint`);
}
