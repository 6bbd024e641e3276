import { InvalidInput } from "./errors.ts";
import type { Checkpoint, RecordedEvent } from "./event.ts";
import { type LogPlace, makeCheckpoint } from "./log-place.ts";

/** The checkpoint of a reader that has handled nothing. */
export const logStart = "0" as Checkpoint;

/**
 * Returns the checkpoint of a reader that has handled everything up to this event.
 *
 * @param event an event that was read from the log; or only its position, which counts as one of the log's first epoch
 */
export function checkpointAfter(
  event: Pick<RecordedEvent, "position"> & Partial<Pick<RecordedEvent, "id" | "epochId">>,
): Checkpoint {
  const { position, id: eventId = null, epochId = null } = event;
  return makeCheckpoint({ position, eventId, epochId });
}

const uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const checkpointPattern = new RegExp(`^(\\d{1,15})(?:/(${uuid})(?:/(${uuid}))?)?$`);

/**
 * @internal
 * @throws {InvalidInput} if the text is not a checkpoint
 */
export function checkpointPlace(checkpoint: Checkpoint): LogPlace {
  const [, position, eventId = null, epochId = null] = checkpointPattern.exec(checkpoint) ?? [];
  if (position !== undefined) return { position: BigInt(position), eventId, epochId };
  throw new InvalidInput(`${JSON.stringify(checkpoint)} is not a checkpoint`);
}
