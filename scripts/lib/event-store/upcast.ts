import { describeValue, unknownKey } from "./check-options.ts";
import { describeError } from "./describe-error.ts";
import { InvalidInput } from "./errors.ts";
import type { RecordedEvent } from "./event.ts";

/** Converts the data of an event from one version to the next. */
export type Upcaster = (data: never, event: RecordedEvent) => unknown;

/** What an event became. */
export interface RewrittenEvent {
  readonly type: string;
  readonly data: unknown;
}

/** Renames an event, splits it into several, or drops it. */
export interface Rewrite {
  /** The types that the event may become, each with the version that it then has; `{}` drops it. */
  readonly into: Readonly<Record<string, number>>;
  /** @returns the events that it becomes, in order; none to drop it. @default one of the type in `into`, same data */
  readonly rewrite?: (data: never, event: RecordedEvent) => readonly RewrittenEvent[];
}

/**
 * By event type and version to convert from:
 * `{ OrderPlaced: { 1: (data) => ({ ...data, currency: "EUR" }) }, OrderCreated: { 1: { into: { OrderPlaced: 1 } } } }`
 */
export type Upcasters = Readonly<Record<string, Readonly<Record<number, Upcaster | Rewrite>>>>;

/** Upcasters that were checked, so that there is an end to converting an event. */
export interface UpcastPlan {
  readonly steps: ReadonlyMap<string, ReadonlyMap<number, Upcaster | Required<Rewrite>>>;
  readonly hasRewrites: boolean;
  /** By event type: the stored types whose events may become events of it. */
  readonly sources: ReadonlyMap<string, readonly string[]>;
}

/** For readers of events as they are stored. */
export const keepStored: UpcastPlan = { steps: new Map(), hasRewrites: false, sources: new Map() };

/** @returns the types of the stored events that may become events of the given types; undefined for all */
export function storedTypes(
  { sources }: UpcastPlan,
  eventTypes: readonly string[] | undefined,
): readonly string[] | undefined {
  if (eventTypes === undefined || sources.size === 0) return eventTypes;
  return [...new Set(eventTypes.flatMap((type) => [type, ...(sources.get(type) ?? [])]))];
}

/**
 * Converts stored events to the latest versions of their types. The parts of an event that is split follow each other.
 *
 * @param eventTypes leaves out what has become an event of another type; the server has selected `storedTypes()`
 * @returns the same array if there are no upcasters
 * @throws an error that names the event and has the upcaster's as its cause
 */
export function upcastEvents(
  stored: readonly RecordedEvent[],
  plan: UpcastPlan,
  eventTypes?: readonly string[],
): readonly RecordedEvent[] {
  if (plan.steps.size === 0) return stored;
  if (!plan.hasRewrites) return stored.map((event) => upcast(event, plan));
  const converted: RecordedEvent[] = [];
  for (const event of stored) addParts(event, plan, converted);
  if (eventTypes === undefined) return converted;
  const wanted = new Set(eventTypes);
  return converted.filter(({ type }) => wanted.has(type));
}

function addParts(event: RecordedEvent, plan: UpcastPlan, converted: RecordedEvent[]): void {
  const current = upcast(event, plan);
  const step = findStep(current, plan);
  if (typeof step !== "object") return void converted.push(current);
  for (const part of explained(current, () => rewriteEvent(step, current))) addParts(part, plan, converted);
}

/** Converts an event one version at a time, up to the latest version or to one that is rewritten. */
function upcast(event: RecordedEvent, plan: UpcastPlan): RecordedEvent {
  let current = event;
  for (let step = findStep(current, plan); typeof step === "function"; step = findStep(current, plan)) {
    const [convert, before] = [step, current];
    const data = explained(before, () => checkData(convert(before.data as never, before)));
    current = { ...before, data, version: before.version + 1 };
  }
  return current;
}

/** @returns the upcaster of an event; undefined if it is of the latest version */
export function findStep({ type, version }: RecordedEvent, { steps }: UpcastPlan) {
  return steps.get(type)?.get(version);
}

/** @throws {InvalidInput} for what cannot be the data of an event */
function checkData(data: unknown): unknown {
  if (data === undefined) throw new InvalidInput("it returned undefined, not the data of an event");
  if (data instanceof Promise) throw new InvalidInput("it returned a promise; upcasters must not be async");
  return data;
}

function rewriteEvent({ into, rewrite }: Required<Rewrite>, event: RecordedEvent): RecordedEvent[] {
  const parts: unknown = rewrite(event.data as never, event);
  if (parts instanceof Promise) throw new InvalidInput("it returned a promise; upcasters must not be async");
  if (!Array.isArray(parts)) throw new InvalidInput(`it returned ${describeValue(parts)}, not an array of events`);
  return parts.map((part: unknown) => {
    const { type, data } = checkPart(part);
    if (Object.hasOwn(into, type)) return { ...event, type, version: into[type] as number, data };
    const allowed = Object.keys(into).join(", ") || "empty";
    throw new InvalidInput(`it returned an event of type ${JSON.stringify(type)}, but its into is ${allowed}`);
  });
}

function checkPart(part: unknown): RewrittenEvent {
  if (typeof part !== "object" || part === null)
    throw new InvalidInput(`it returned ${describeValue(part)} as an event`);
  const { type, data } = part as Partial<RewrittenEvent>;
  for (const key of Object.keys(part)) {
    if (key !== "type" && key !== "data") throw unknownKey("it returned an event with the key", key, ["type", "data"]);
  }
  if (typeof type !== "string") throw new InvalidInput("it returned an event without a type that is a string");
  if (data === undefined) throw new InvalidInput(`it returned an event of type ${JSON.stringify(type)} without data`);
  return { type, data: checkData(data) };
}

function explained<Result>(event: RecordedEvent, convert: () => Result): Result {
  try {
    return convert();
  } catch (cause) {
    const { type, version, aggregate, aggregateVersion } = event;
    const where = `event ${aggregateVersion} of ${aggregate.type} ${aggregate.id}`;
    throw new Error(`the upcaster of ${type} version ${version} failed for ${where}: ${describeError(cause)}`, {
      cause,
    });
  }
}
