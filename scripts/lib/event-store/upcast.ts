import type { RecordedEvent } from "./event.ts";

/** Converts the data of an event from one version to the next. */
export type Upcaster = (data: never, event: RecordedEvent) => unknown;

/** By event type and version to convert from: `{ OrderPlaced: { 1: (data) => ({ ...data, currency: "EUR" }) } }` */
export type Upcasters = Readonly<Record<string, Readonly<Record<number, Upcaster>>>>;

export const noUpcasters: Upcasters = {};

/**
 * Converts an event to the latest version of its type, one version at a time.
 *
 * @returns the event unchanged if there is no upcaster for its type and version
 */
export function upcast(event: RecordedEvent, upcasters: Upcasters): RecordedEvent {
  const steps = Object.hasOwn(upcasters, event.type) ? upcasters[event.type] : undefined;
  let current = event;
  for (let step = steps?.[current.version]; step !== undefined; step = steps?.[current.version]) {
    current = { ...current, data: step(current.data as never, current), version: current.version + 1 };
  }
  return current;
}
