import { InvalidInput } from "./errors.ts";

/** Says what a value must be instead; undefined if it is valid. */
export type ValueCheck = (value: unknown) => string | undefined;

/** A check for each key of an options object. */
export type OptionChecks<Options extends object> = Readonly<Record<keyof Options, ValueCheck>>;

/**
 * Checks the keys and the values of an options object. An option that is undefined has its default.
 *
 * @param call what takes the options, such as `readStream()`
 * @throws {InvalidInput} for an unknown key, or for a value that is not allowed
 */
export function checkOptions<Options extends object>(
  options: Options,
  checks: OptionChecks<Options>,
  call: string,
): void {
  if (typeof options !== "object" || options === null) {
    throw new InvalidInput(`the options of ${call} are ${describeValue(options)}, not an object`);
  }
  for (const key of Object.keys(options)) {
    if (!Object.hasOwn(checks, key)) throw unknownKey(`${call} has no option`, key, Object.keys(checks));
    const value = options[key as keyof Options];
    const problem = value === undefined ? undefined : checks[key as keyof Options](value);
    if (problem !== undefined) throw new InvalidInput(`${key} is ${describeValue(value)}; it must be ${problem}`);
  }
}

/** @returns the error for a key that is not among the known ones; it names the nearest, or all if none is near */
export function unknownKey(problem: string, key: string, known: readonly string[]): InvalidInput {
  const [nearest = ""] = known.toSorted((one, other) => editDistance(key, one) - editDistance(key, other));
  const isNear = nearest.toLowerCase() === key.toLowerCase() || editDistance(key, nearest) <= key.length / 3;
  const fix = isNear ? `did you mean ${nearest}?` : `allowed are ${known.join(", ")}`;
  return new InvalidInput(`${problem} ${JSON.stringify(key)}: ${fix}`);
}

/** The number of letters to insert, remove or replace (Levenshtein). Short: the event store needs no package for it. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, length) => length);
  for (let index = 0; index < from.length; index++) {
    const next = [index + 1];
    for (let other = 0; other < to.length; other++) {
      const replaced = (row[other] ?? 0) + (from[index] === to[other] ? 0 : 1);
      next.push(Math.min(replaced, (row[other + 1] ?? 0) + 1, (next[other] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** The greatest int4. */
export const maxVersion = 2_147_483_647;

/** A number of events or retries. */
export function isCount(from: number): ValueCheck {
  return (value) =>
    typeof value === "number" && Number.isInteger(value) && value >= from && value <= maxVersion
      ? undefined
      : `an integer from ${from} to ${maxVersion}`;
}

export const isVersion: ValueCheck = (value) => {
  const isInteger = typeof value === "bigint" || Number.isInteger(value);
  const isInRange = isInteger && (value as number) >= 0 && (value as number) <= maxVersion;
  return isInRange ? undefined : `an integer from 0 to ${maxVersion}`;
};

export const isFlag: ValueCheck = (value) => (typeof value === "boolean" ? undefined : "true or false");

export const isTime: ValueCheck = (value) =>
  value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : "a valid Date";

export const isText: ValueCheck = (value) => (typeof value === "string" ? undefined : "a string");

export const isTextList: ValueCheck = (value) =>
  Array.isArray(value) && value.every((element) => typeof element === "string") ? undefined : "an array of strings";

export const isSignal: ValueCheck = (value) => (hasMethod(value, "addEventListener") ? undefined : "an AbortSignal");

/** A pool also runs statements, but each in a transaction of its own. */
export const isTransaction: ValueCheck = (value) =>
  hasMethod(value, "unsafe") && !hasMethod(value, "begin")
    ? undefined
    : "the transaction that store.transaction() or sql.begin() passes to its callback";

/** For values that are checked where they are used. */
export const isAnything: ValueCheck = () => undefined;

function hasMethod(value: unknown, name: string): boolean {
  const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
  return isObject && typeof (value as Readonly<Record<string, unknown>>)[name] === "function";
}

/** @returns the value in at most 100 characters, for a message */
export function describeValue(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 100));
  if (typeof value === "bigint") return `${value}n`.slice(0, 100);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "an invalid Date" : "a Date";
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  return Array.isArray(value) ? "an array" : "an object";
}
