import { uuidv7 } from "uuidv7";
import { checkTextId, isUuid } from "./check-aggregate.ts";
import { describeValue, isVersion, unknownKey } from "./check-options.ts";
import { InvalidInput } from "./errors.ts";
import type { Aggregate, ExpectedVersion, NewEvent } from "./event.ts";
import { toJson } from "./json.ts";
import type { AggregateIdentity } from "./stream-id.ts";

/** What to append, and where. */
export interface Append {
  readonly identity: AggregateIdentity;
  readonly aggregate: Aggregate;
  readonly events: readonly NewEvent[];
  /** The ids of the events. */
  readonly ids: readonly string[];
  readonly expectedVersion: ExpectedVersion;
}

/**
 * Returns the id of each event, as the server writes it; an event that has none gets one.
 *
 * @throws {InvalidInput} if the events are no array of objects, or an id is not a UUID
 */
export function eventIds(events: readonly NewEvent[]): string[] {
  if (!Array.isArray(events)) throw new InvalidInput(`the events are ${describeValue(events)}, not an array`);
  const ids: string[] = [];
  // Unlike map(), this sees the holes of an array.
  for (const event of events as readonly NewEvent[]) {
    const index = ids.length;
    if (typeof event !== "object" || event === null) {
      throw new InvalidInput(`event ${index + 1} is ${describeValue(event)}, not an object`);
    }
    ids.push(event.id === undefined ? uuidv7() : uuidOf(event, index));
  }
  return ids;
}

/** @returns the UUID as the server writes it */
function uuidOf(event: NewEvent, index: number): string {
  const { id } = event;
  if (isUuid(id)) return id.toLowerCase();
  throw new InvalidInput(`the id of ${nameOf(event, index)} is not a UUID: ${describeValue(id)}`);
}

/**
 * Writes an element of `event_store.append_batch`.
 *
 * @throws {InvalidInput} if the expected version is none, or an event cannot be stored
 */
export function appendElement({ identity, aggregate, events, ids, expectedVersion }: Append): string {
  const { type, uuid, key, streamId } = identity;
  const code = versionCode(expectedVersion, aggregate);
  const list = events.map((event, index) => eventElement(event, ids[index] as string, index)).join(",");
  const name = key === undefined ? "" : `"aggregate_key":${JSON.stringify(key)},`;
  return `{"stream_id":"${streamId}","aggregate_type":${JSON.stringify(type)},"aggregate_id":"${uuid}",${name}"expected_version":${code},"events":[${list}]}`;
}

const versionCodes: Readonly<Record<string, number>> = { any: -2, "no-stream": -1, exists: -4 };

/** @returns the expected version as SQL encodes it */
function versionCode(expected: ExpectedVersion, aggregate: Aggregate): number | bigint {
  if (typeof expected !== "string" && isVersion(expected) === undefined) return expected;
  const code =
    typeof expected === "string" && Object.hasOwn(versionCodes, expected) ? versionCodes[expected] : undefined;
  if (code !== undefined) return code;
  throw new InvalidInput(
    `${describeValue(expected)} is not an expected version: pass "any", "no-stream", "exists" or ${isVersion(expected)}`,
    { aggregate },
  );
}

function eventElement(event: NewEvent, id: string, index: number): string {
  const keys = Object.keys(event);
  checkEvent(event, keys, index);
  const json = (key: keyof NewEvent, what: string) => toJson(event[key], `${what} of ${nameOf(event, index)}`);
  const parts = [`"event_id":"${id}","event_type":${json("type", "type")},"event_data":${json("data", "data")}`];
  // Those of a class may be getters, which are no keys.
  if (keys.length > 2 || Object.getPrototypeOf(event) !== Object.prototype) {
    if (event.version !== undefined) parts.push(`"event_version":${json("version", "version")}`);
    const hasIds = event.causationId !== undefined || event.correlationId !== undefined;
    const textIds = hasIds ? textIdsOf(event, index) : undefined;
    if (textIds !== undefined) parts.push(`"metadata":${keepTextIds(event, textIds, index)}`);
    else if (event.metadata !== undefined) parts.push(`"metadata":${json("metadata", "metadata")}`);
    if (hasIds && isUuid(event.causationId)) parts.push(`"causation_id":"${event.causationId}"`);
    if (hasIds && isUuid(event.correlationId)) parts.push(`"correlation_id":"${event.correlationId}"`);
  }
  return `{${parts.join(",")}}`;
}

type TextIds = Readonly<Record<string, string>>;

/** @returns the ids that are no UUIDs, by their key in the metadata; undefined if there are none */
function textIdsOf(event: NewEvent, index: number): TextIds | undefined {
  let found: Record<string, string> | undefined;
  for (const key of ["causationId", "correlationId"] as const) {
    // The ids of a recorded event are null if it has none.
    const id: string | null | undefined = event[key];
    if (id === undefined || id === null || isUuid(id)) continue;
    checkTextId(id, `the ${key} of ${nameOf(event, index)}`);
    found = { ...found, [`$${key}`]: id };
  }
  return found;
}

/** @returns the metadata with the ids, as JSON */
function keepTextIds(event: NewEvent, ids: TextIds, index: number): string {
  const name = nameOf(event, index);
  const metadata: unknown = JSON.parse(toJson(event.metadata ?? {}, `metadata of ${name}`));
  if (typeof metadata !== "object" || Array.isArray(metadata)) {
    throw new InvalidInput(`the metadata of ${name} is ${describeValue(metadata)}; only an object can keep text ids`);
  }
  for (const [key, id] of Object.entries(ids)) {
    const known = (metadata as Readonly<Record<string, unknown>>)[key];
    if (known === undefined || known === id) continue;
    throw new InvalidInput(`the metadata of ${name} has another ${key} than its ${key.slice(1)}`);
  }
  return toJson({ ...metadata, ...ids }, `metadata of ${name}`);
}

const eventKeys = {
  type: true,
  data: true,
  id: true,
  version: true,
  metadata: true,
  causationId: true,
  correlationId: true,
} satisfies Record<keyof NewEvent, true>;

function checkEvent(event: NewEvent, keys: readonly string[], index: number): void {
  for (const key of keys) {
    if (Object.hasOwn(eventKeys, key)) continue;
    throw unknownKey(`${nameOf(event, index)} has the unknown key`, key, Object.keys(eventKeys));
  }
  if (typeof event.type !== "string") throw new InvalidInput(`event ${index + 1} has no type that is a string`);
  if (event.data !== undefined && event.data !== null) return;
  throw new InvalidInput(`${nameOf(event, index)} has no data: write data: {} for an event without data`);
}

function nameOf({ type }: NewEvent, index: number): string {
  return `event ${index + 1} (${type})`;
}
