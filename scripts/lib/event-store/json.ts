import { InvalidInput } from "./errors.ts";

/**
 * Serialises a value as JSON that jsonb accepts.
 *
 * `JSON.stringify` alone would silently drop what JSON cannot represent, or turn it into null.
 *
 * @param what names the value in errors, such as `data of event 1 (OrderPlaced)`
 * @returns the JSON text
 * @throws {InvalidInput} for NaN, an infinity, a bigint, a function, a symbol, a Map or Set, undefined in an array, a
 * cycle, an invalid date, or text with a NUL or a lone surrogate; the message says where
 */
export function toJson(value: unknown, what: string): string {
  checkValue(value, "", what, 0);
  return JSON.stringify(value);
}

/** Anything deeper is a cycle, or exceeds what jsonb accepts. */
const maxDepth = 1_000;

function checkValue(value: unknown, path: string, what: string, depth: number): void {
  switch (typeof value) {
    case "string":
      if (value.includes("\u0000") || !value.isWellFormed()) {
        throw unfit(value.includes("\u0000") ? "text with a NUL" : "text with a lone surrogate", path, what);
      }
      return;
    case "boolean":
      return;
    case "number":
      if (!Number.isFinite(value)) throw unfit(`${value}`, path, what);
      return;
    case "object":
      if (value !== null) checkObject(value, path, what, depth + 1);
      return;
    default:
      throw unfit(value === undefined ? "undefined" : `a ${typeof value}`, path, what);
  }
}

function checkObject(value: object, path: string, what: string, depth: number): void {
  if (depth > maxDepth) throw unfit("a cycle, or more than 1,000 levels", path, what);
  if ("toJSON" in value && typeof value.toJSON === "function") {
    if (value instanceof Date && Number.isNaN(value.getTime())) throw unfit("an invalid date", path, what);
    checkValue(value.toJSON(), path, what, depth);
  } else if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) checkValue(value[index], `${path}[${index}]`, what, depth);
  } else if (value instanceof Map || value instanceof Set) {
    throw unfit(`a ${value.constructor.name}`, path, what);
  } else {
    for (const [key, member] of Object.entries(value)) {
      // JSON has no undefined: an optional property that is undefined counts as absent.
      if (member !== undefined) checkValue(member, `${path}.${key}`, what, depth);
      if (key.includes("\u0000") || !key.isWellFormed())
        throw unfit("a key with a NUL or a lone surrogate", path, what);
    }
  }
}

function unfit(found: string, path: string, what: string): InvalidInput {
  return new InvalidInput(`${what} contains ${found}${path === "" ? "" : ` at ${path}`}, which JSON cannot represent`);
}
