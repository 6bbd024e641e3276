import type { RecordedEvent } from "./event.ts";

/** Brings the data of an event from one version of its form to the next. */
export type Upcaster = (data: never, event: RecordedEvent) => unknown;

/** For each type of event, by the version it starts from: `{ OrderPlaced: { 1: (data) => ({ ...data, currency: "EUR" }) } }` */
export type Upcasters = Readonly<Record<string, Readonly<Record<number, Upcaster>>>>;

/** Leaves events as they are stored. */
export const noUpcasters: Upcasters = {};

/**
 * Brings an event to the newest form of its type, a version at a time.
 *
 * @returns the event itself when its type has no upcaster from its version
 */
export function upcast(event: RecordedEvent, upcasters: Upcasters): RecordedEvent {
  const steps = Object.hasOwn(upcasters, event.type) ? upcasters[event.type] : undefined;
  let current = event;
  for (let step = steps?.[current.version]; step !== undefined; step = steps?.[current.version]) {
    current = { ...current, data: step(current.data as never, current), version: current.version + 1 };
  }
  return current;
}
