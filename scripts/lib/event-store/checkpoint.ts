import { InvalidInput } from "./errors.ts";
import type { Checkpoint, RecordedEvent } from "./event.ts";

/** The checkpoint of a reader that has handled nothing. */
export const logStart: Checkpoint = makeCheckpoint(0n);

/** @returns the checkpoint of a reader that has handled everything up to this event */
export function checkpointAfter(event: Pick<RecordedEvent, "position">): Checkpoint {
  return makeCheckpoint(event.position);
}

/** @internal Only this file knows what a checkpoint contains: one position now, one per server if there are several. */
export function makeCheckpoint(position: bigint): Checkpoint {
  return `${position}` as Checkpoint;
}

/**
 * @internal
 * @throws {InvalidInput} if the text is not a checkpoint
 */
export function checkpointPosition(checkpoint: Checkpoint): bigint {
  if (/^\d{1,18}$/.test(checkpoint)) return BigInt(checkpoint);
  throw new InvalidInput(`${JSON.stringify(checkpoint)} is not a checkpoint`);
}
