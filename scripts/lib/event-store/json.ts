import { InvalidInput } from "./errors.ts";

/** How to serialise. */
export interface JsonOptions {
  /** Refuse objects with `toJSON`, such as dates, because parsing does not restore them; @default false */
  readonly mustRestore?: boolean;
}

/**
 * Serialises a value as JSON that jsonb accepts: a scalar, an array, a plain object, or what `toJSON` returns.
 *
 * `JSON.stringify` alone would silently drop what JSON cannot represent, or turn it into null or `{}`. What compares as
 * equal afterwards is not lost: -0 becomes 0, and a property that is undefined becomes absent.
 *
 * @param what names the value in errors, such as `data of event 1 (OrderPlaced)`
 * @returns the JSON text
 * @throws {InvalidInput} if something would be lost; the message says what and where
 */
export function toJson(value: unknown, what: string, { mustRestore = false }: JsonOptions = {}): string {
  const loss = findLoss(value, 0, mustRestore);
  if (loss === undefined) return JSON.stringify(value);
  const { found, path, reason = "which JSON cannot represent" } = loss;
  const place = path.length > maxPathLength ? `${path.slice(0, maxPathLength)}…` : path;
  throw new InvalidInput(`${what} contains ${found}${place === "" ? "" : ` at ${place}`}, ${reason}`);
}

/** What would be lost. */
interface Loss {
  readonly found: string;
  /** Where it is; completed on the way out, so that nothing is spent on the paths of valid values. */
  path: string;
  readonly reason?: string;
}

/** The path of a cycle would be long. */
const maxPathLength = 200;

/** Anything deeper is a cycle, or exceeds what jsonb accepts. */
const maxDepth = 1_000;

function findLoss(value: unknown, depth: number, mustRestore: boolean): Loss | undefined {
  switch (typeof value) {
    case "string":
      return findTextLoss(value, "text");
    case "boolean":
      return undefined;
    case "number":
      return findNumberLoss(value);
    case "object":
      return value === null ? undefined : findObjectLoss(value, depth + 1, mustRestore);
    default:
      return { found: value === undefined ? "undefined" : `a ${typeof value}`, path: "" };
  }
}

function findTextLoss(text: string, what: string): Loss | undefined {
  if (text.includes("\u0000")) return { found: `${what} with a NUL`, path: "" };
  return text.isWellFormed() ? undefined : { found: `${what} with a lone surrogate`, path: "" };
}

function findNumberLoss(value: number): Loss | undefined {
  if (!Number.isFinite(value)) return { found: `${value}`, path: "" };
  if (Number.isSafeInteger(value) || !Number.isInteger(value)) return undefined;
  return {
    found: `the integer ${value}`,
    path: "",
    reason: "which is beyond 2^53, so JavaScript may have rounded it already: pass it as text",
  };
}

function findObjectLoss(value: object, depth: number, mustRestore: boolean): Loss | undefined {
  if (depth > maxDepth) return { found: "a cycle, or more than 1,000 levels", path: "" };
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return findConversionLoss(value as Convertible, depth, mustRestore);
  }
  return findMemberLoss(value, depth, mustRestore);
}

interface Convertible {
  toJSON(): unknown;
}

/** What `toJSON` returns is serialised as it is, even if it has a `toJSON` of its own. */
function findConversionLoss(value: Convertible, depth: number, mustRestore: boolean): Loss | undefined {
  if (mustRestore) return instance(value, "which would be loaded as what its toJSON() returns");
  if (ArrayBuffer.isView(value)) return instance(value);
  if (value instanceof Date && Number.isNaN(value.getTime())) return { found: "an invalid date", path: "" };
  const converted = value.toJSON();
  if (typeof converted !== "object" || converted === null) return findLoss(converted, depth, mustRestore);
  return findMemberLoss(converted, depth, mustRestore);
}

function findMemberLoss(value: object, depth: number, mustRestore: boolean): Loss | undefined {
  if (Array.isArray(value)) return findElementLoss(value, depth, mustRestore);
  if (!isPlain(value)) return instance(value);
  if (Object.getOwnPropertySymbols(value).length > 0) return { found: "a key that is a symbol", path: "" };
  for (const key of Object.keys(value)) {
    const member = (value as Readonly<Record<string, unknown>>)[key];
    // JSON has no undefined: an optional property that is undefined counts as absent.
    const loss = member === undefined ? undefined : findLoss(member, depth, mustRestore);
    if (loss !== undefined) return below(`.${key}`, loss);
    const keyLoss = findTextLoss(key, "a key");
    if (keyLoss !== undefined) return keyLoss;
  }
  return undefined;
}

function findElementLoss(elements: readonly unknown[], depth: number, mustRestore: boolean): Loss | undefined {
  for (let index = 0; index < elements.length; index++) {
    const loss = findLoss(elements[index], depth, mustRestore);
    if (loss !== undefined) return below(`[${index}]`, loss);
  }
  return undefined;
}

function below(step: string, loss: Loss): Loss {
  loss.path = `${step}${loss.path}`;
  return loss;
}

/** Whether an object is a literal or has no prototype. A literal of another realm has that realm's prototype. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null;
}

function instance(value: object, reason?: string): Loss {
  if (value instanceof Promise) return { found: "a Promise", path: "", reason: "which must be awaited first" };
  const name = typeof value.constructor === "function" ? value.constructor.name : "";
  const found = `an instance of ${name === "" ? "a class" : name}`;
  return { found, path: "", ...(reason === undefined ? {} : { reason }) };
}
