import { createHash } from "node:crypto";
import { checkAggregate, checkTextId, isUuid } from "./check-aggregate.ts";
import type { Aggregate } from "./event.ts";

/** The namespace of sql/routines/functions/event_store.stream_id_of.sql. */
const streamNamespace = Buffer.from("6dd05592e45b4368838faefdd7d64854", "hex");
/** The namespace of sql/routines/functions/event_store.aggregate_id_of.sql. */
const keyNamespace = Buffer.from("2f8ea4cf5b0a4d0c9c2b7d1f3e6a9b58", "hex");

/**
 * Derives the id of an aggregate's stream, as `event_store.stream_id_of` does: a UUIDv5 (RFC 9562) of `<type>:<id>`.
 *
 * @returns the stream's id, in lower case
 * @throws {InvalidInput} if the aggregate's type is empty, or its id cannot be stored
 */
export function streamIdOf(aggregate: Aggregate): string {
  return identify(aggregate).streamId;
}

/** How the tables identify an aggregate. */
export interface AggregateIdentity {
  readonly type: string;
  readonly uuid: string;
  /** The text that names it; undefined if a UUID does. */
  readonly key: string | undefined;
  readonly streamId: string;
}

/** @throws {InvalidInput} if the aggregate's type is empty, or its id cannot be stored */
export function identify(aggregate: Aggregate): AggregateIdentity {
  const { type, id } = checkAggregate(aggregate);
  const key = isUuid(id) ? undefined : id;
  const uuid = key === undefined ? id : uuidv5(keyNamespace, key);
  return { type, uuid, key, streamId: uuidv5(streamNamespace, `${type}:${uuid}`) };
}

/**
 * Returns the UUID of an aggregate, as `event_store.aggregate_id_of` does: its id if that is a UUID (in the form
 * 8-4-4-4-12), otherwise a UUIDv5 (RFC 9562) of the text.
 *
 * @returns the UUID, in lower case
 * @throws {InvalidInput} if the id is empty, longer than 1,024 bytes in UTF-8, or cannot be stored
 */
export function aggregateIdOf(id: string): string {
  if (isUuid(id)) return id.toLowerCase();
  checkTextId(id, "the aggregate's id");
  return uuidv5(keyNamespace, id);
}

function uuidv5(namespace: Buffer, name: string): string {
  const hash = createHash("sha1").update(namespace).update(name).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}
