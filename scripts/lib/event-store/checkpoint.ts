import { InvalidInput } from "./errors.ts";
import type { Checkpoint, RecordedEvent } from "./event.ts";
import { selectRows } from "./event-rows.ts";
import { type LogPlace, makeCheckpoint } from "./log-place.ts";
import type { EventStore } from "./store.ts";

/** The checkpoint of a reader that has handled nothing. */
export const logStart = "0" as Checkpoint;

/**
 * Returns the checkpoint of a reader that has handled everything that can be read now: as far as the log is complete.
 * Pass it to `subscribe()` to start from now. What is committed after the call always comes after the checkpoint, and so
 * does what a transaction in flight had kept from being read.
 */
export async function logEnd({ sql }: Pick<EventStore, "sql">): Promise<Checkpoint> {
  const [row] = await selectRows(sql, "select * from event_store.resume_log(0)", []);
  const [position, eventId, epochId] = row as [bigint, string | null, string];
  return makeCheckpoint({ position, eventId, epochId });
}

/**
 * Returns the checkpoint of a reader that has handled everything up to this event. If upcasters have split the event,
 * that is the place before it until its last part, so that no part is lost.
 *
 * @param event an event that was read from the log; or only its position, which counts as one of the log's first epoch
 */
export function checkpointAfter(
  event: Pick<RecordedEvent, "position"> & Partial<Pick<RecordedEvent, "id" | "epochId" | "resumeFrom">>,
): Checkpoint {
  const { position, id: eventId = null, epochId = null } = event;
  return event.resumeFrom ?? makeCheckpoint({ position, eventId, epochId });
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
  const allowed = "logStart, await logEnd(store), or one of a reader";
  throw new InvalidInput(`${JSON.stringify(checkpoint)} is not a checkpoint: pass ${allowed}`);
}
