import type { RecordedEvent } from "../event.ts";
import { type Upcasters, upcast } from "../upcast.ts";

/**
 * Upcasts events for one attempt. An upcaster gets a copy of the data: one that changes what it is given would convert
 * it again in the next attempt.
 *
 * @throws the error of an upcaster
 */
export function upcastCopies(events: readonly RecordedEvent[], upcasters: Upcasters): RecordedEvent[] {
  return events.map((event) => {
    const hasUpcaster = Object.hasOwn(upcasters, event.type) && upcasters[event.type]?.[event.version] !== undefined;
    return hasUpcaster ? upcast({ ...event, data: structuredClone(event.data) }, upcasters) : event;
  });
}
