import { InvalidInput } from "./errors.ts";
import type { Aggregate } from "./event.ts";
import { toJson } from "./json.ts";

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a value is a UUID in the form 8-4-4-4-12, in any case. */
export function isUuid(value: unknown): value is string {
  return typeof value === "string" && uuidForm.test(value);
}

/**
 * Checks the type and the id of an aggregate.
 *
 * @returns the aggregate
 * @throws {InvalidInput} if its type is empty or its id is not a UUID
 */
export function checkAggregate(aggregate: Aggregate): Aggregate {
  if (typeof aggregate.type !== "string" || aggregate.type === "") {
    throw new InvalidInput("the aggregate has no type");
  }
  toJson(aggregate.type, "the aggregate's type");
  if (isUuid(aggregate.id)) return aggregate;
  throw new InvalidInput(`${JSON.stringify(aggregate.id)} is not the id of an aggregate: it must be a UUID`);
}
