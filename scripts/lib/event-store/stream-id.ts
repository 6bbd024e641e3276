import { createHash } from "node:crypto";
import type { Aggregate } from "./event.ts";

/** The namespace of sql/routines/functions/event_store.stream_id_of.sql. */
const namespace = Buffer.from("6dd05592e45b4368838faefdd7d64854", "hex");

/**
 * Derives the id of an aggregate's stream, as `event_store.stream_id_of` does: a UUIDv5 (RFC 9562) of `<type>:<id>`.
 *
 * @returns the stream's id, in lower case
 */
export function streamIdOf({ type, id }: Aggregate): string {
  const hash = createHash("sha1").update(namespace).update(`${type}:${id.toLowerCase()}`).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}
