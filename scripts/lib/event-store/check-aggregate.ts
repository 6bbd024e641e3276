import { InvalidInput } from "./errors.ts";
import type { Aggregate } from "./event.ts";
import { toJson } from "./json.ts";

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * @returns what it was given
 * @throws {InvalidInput} when it has no type, or an id that is no UUID
 */
export function checkAggregate(aggregate: Aggregate): Aggregate {
  if (typeof aggregate.type !== "string" || aggregate.type === "") {
    throw new InvalidInput("the aggregate has no type");
  }
  toJson(aggregate.type, "the aggregate's type");
  if (uuidForm.test(aggregate.id)) return aggregate;
  throw new InvalidInput(`${JSON.stringify(aggregate.id)} is not the id of an aggregate: it has to be a UUID`);
}
