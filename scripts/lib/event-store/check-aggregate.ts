import { describeValue, type ValueCheck } from "./check-options.ts";
import { InvalidInput } from "./errors.ts";
import type { Aggregate } from "./event.ts";
import { toJson } from "./json.ts";

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a value is a UUID in the form 8-4-4-4-12, in any case. */
export function isUuid(value: unknown): value is string {
  return typeof value === "string" && uuidForm.test(value);
}

/** An option that names an aggregate. */
export const isAggregate: ValueCheck = (value) => {
  if (typeof value !== "object" || value === null) return "an object such as { type, id }";
  checkAggregate(value as Aggregate);
  return undefined;
};

/**
 * Checks the type and the id of an aggregate.
 *
 * @returns the aggregate; a UUID is in lower case, as the server writes it
 * @throws {InvalidInput} if its type is empty, or its id is neither a UUID nor a text that can be stored
 */
export function checkAggregate(aggregate: Aggregate): Aggregate {
  if (typeof aggregate !== "object" || aggregate === null) {
    throw new InvalidInput(`the aggregate is ${describeValue(aggregate)}, not an object such as { type, id }`);
  }
  const { type, id } = aggregate;
  if (typeof type !== "string" || type === "") throw new InvalidInput("the aggregate has no type");
  toJson(type, "the aggregate's type");
  if (isUuid(id)) return { type, id: id.toLowerCase() };
  checkTextId(id, "the aggregate's id");
  return { type, id };
}

const maxTextBytes = 1_024;

/**
 * Checks a text that is used as an id.
 *
 * @param what names it, for the error
 * @throws {InvalidInput} if it is not text of 1 to 1,024 bytes in UTF-8, or PostgreSQL cannot store it
 */
export function checkTextId(id: unknown, what: string): void {
  const sizeBytes = typeof id === "string" ? Buffer.byteLength(id) : 0;
  if (sizeBytes < 1 || sizeBytes > maxTextBytes) {
    const found = sizeBytes > maxTextBytes ? `text of ${sizeBytes} bytes` : describeValue(id);
    throw new InvalidInput(`${what} is ${found}; it must be a UUID, or text of 1 to ${maxTextBytes} bytes`);
  }
  toJson(id, what);
}
