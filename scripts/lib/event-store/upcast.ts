import { describeError } from "./describe-error.ts";
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
 * @throws an error that names the event and has the upcaster's as its cause
 */
export function upcast(event: RecordedEvent, upcasters: Upcasters): RecordedEvent {
  const steps = Object.hasOwn(upcasters, event.type) ? upcasters[event.type] : undefined;
  let current = event;
  for (let step = steps?.[current.version]; step !== undefined; step = steps?.[current.version]) {
    current = { ...current, data: convert(step, current), version: current.version + 1 };
  }
  return current;
}

function convert(step: Upcaster, event: RecordedEvent): unknown {
  try {
    return step(event.data as never, event);
  } catch (cause) {
    const { type, version, aggregate, aggregateVersion } = event;
    const where = `event ${aggregateVersion} of ${aggregate.type} ${aggregate.id}`;
    throw new Error(`the upcaster of ${type} version ${version} failed for ${where}: ${describeError(cause)}`, {
      cause,
    });
  }
}
