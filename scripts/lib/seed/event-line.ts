import { createHash } from "node:crypto";
import { type PreparedAppend, prepareAppend } from "../event-store/append.ts";
import { describeValue, unknownKey } from "../event-store/check-options.ts";
import { InvalidInput } from "../event-store/errors.ts";
import type { Aggregate, ExpectedVersion, NewEvent } from "../event-store/event.ts";
import type { Line } from "./lines.ts";

/** What a line may contain: the arguments of `appendEvents()`, with one event. */
interface EventLine extends NewEvent {
  readonly aggregate: Aggregate;
  readonly expectedVersion?: ExpectedVersion;
}

const aggregateKeys = ["type", "id"];

/**
 * Reads an event from a line of JSON. An event without an id gets one of its set and line, so that it is recognised
 * when the file is loaded again.
 *
 * @throws {InvalidInput} with what is wrong
 */
export function parseEvent(set: string, { number, text }: Line): PreparedAppend {
  const { aggregate, expectedVersion = "any", ...event } = parseObject(text) as unknown as EventLine;
  if (aggregate === undefined) throw new InvalidInput('the line has no aggregate: "aggregate":{"type":…,"id":…}');
  const other = Object.keys(aggregate ?? {}).find((key) => !aggregateKeys.includes(key));
  if (other !== undefined) throw unknownKey("the aggregate has the unknown key", other, aggregateKeys);
  return prepareAppend(aggregate, [{ id: idOfLine(set, number), ...event }], expectedVersion);
}

function parseObject(text: string): object {
  const value = parseJson(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new InvalidInput(`the line is ${describeValue(value)}, not a JSON object`);
}

function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    if (mayLoseDigits.test(text)) JSON.parse(text, refuseLoss as (key: string, value: unknown) => unknown);
    return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InvalidInput(`the line is not JSON: ${error.message}`);
  }
}

/** Numbers with many digits or an exponent; a number in a string is checked for nothing. */
const mayLoseDigits = /[\d.]{16}|\d[eE]/;

function refuseLoss(key: string, value: unknown, { source }: { readonly source?: string } = {}): unknown {
  if (typeof value !== "number" || source === undefined || digitsOf(source) === digitsOf(String(value))) return value;
  throw new InvalidInput(`the number ${source} of ${JSON.stringify(key)} would lose digits; write it as a string`);
}

/** @returns the digits and the power of ten of a number, the same for each way to write it */
function digitsOf(number: string): string {
  const [, sign, whole = "", fraction = "", power = "0"] = /^(-?)(\d+)\.?(\d*)(?:[eE]\+?(.*))?$/.exec(number) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return "0";
  return `${sign}${significant}e${Number(power) - fraction.length + digits.length - significant.length}`;
}

/** @returns a UUIDv8 (RFC 9562) */
function idOfLine(set: string, number: number): string {
  const hash = createHash("sha256").update(`cqrs-postgres seed ${set} ${number}`).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  return hash.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
