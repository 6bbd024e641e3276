import type { RecordedEvent } from "../event.ts";
import { findStep, type UpcastPlan, upcastEvents } from "../upcast.ts";

/**
 * Upcasts events for one attempt, into an array of its own. An upcaster gets a copy of the data: one that changes what
 * it is given would convert it again in the next attempt.
 *
 * @param eventTypes leaves out what has become an event of another type; @default all
 * @throws the error of an upcaster
 */
export function upcastCopies(
  events: readonly RecordedEvent[],
  upcasters: UpcastPlan,
  eventTypes?: readonly string[],
): readonly RecordedEvent[] {
  const copies = events.map((event) =>
    findStep(event, upcasters) === undefined ? event : { ...event, data: structuredClone(event.data) },
  );
  return upcastEvents(copies, upcasters, eventTypes);
}
