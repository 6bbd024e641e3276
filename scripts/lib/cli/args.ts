import type { ArgDef, ArgsDef } from "citty";
import { durationForm, parseDuration } from "../duration.ts";
import { usageError } from "./errors.ts";

interface Described {
  readonly description: string;
}

/** A flag without a value. */
export interface SwitchFlag extends Described {
  readonly type: "boolean";
  /** One letter: `y` for `-y`. */
  readonly alias?: string;
  /** Describes `--no-<name>`, which exists only with this text. */
  readonly negativeDescription?: string;
  /** Whether it is on if it is omitted. */
  readonly default?: true;
}

interface ValueFlag extends Described {
  /** The value if the flag is omitted, as a user would type it. */
  readonly default?: string;
}

export interface StringFlag extends ValueFlag {
  readonly type: "string";
  readonly valueHint: string;
  /** One letter: `c` for `-c`. */
  readonly alias?: string;
  /** The environment variable that this flag overrides. `config.ts` reads and checks both. */
  readonly setting?: string;
}

/** A whole number. */
export interface NumberFlag extends ValueFlag {
  readonly type: "number";
  readonly min: number;
  readonly max?: number;
}

/** `500ms`, `60s`, `2h`; scripts get milliseconds. */
export interface DurationFlag extends ValueFlag {
  readonly type: "duration";
}

export interface ChoiceFlag extends ValueFlag {
  readonly type: "choice";
  readonly options: readonly [string, ...string[]];
}

/** A word that belongs to no flag. Always optional here: a script that requires one reports that it is missing. */
export interface Positional extends ValueFlag {
  readonly type: "positional";
  /** A hint that ends with an ellipsis accepts any number of words. */
  readonly valueHint?: string;
}

export type Flag = SwitchFlag | StringFlag | NumberFlag | DurationFlag | ChoiceFlag;

/** What a script accepts, by name. */
export type ArgDefinitions = Readonly<Record<string, Flag | Positional>>;

type ValueOf<Definition> = Definition extends SwitchFlag
  ? boolean
  : Definition extends NumberFlag | DurationFlag
    ? number
    : Definition extends { readonly type: "choice"; readonly options: readonly (infer Option)[] }
      ? Option
      : string;

/** The checked and converted values of {@link ArgDefinitions}. An omitted switch is false unless its default is true. */
export type ArgValues<Definitions> = {
  readonly [Name in keyof Definitions]: Definitions[Name] extends SwitchFlag | { readonly default: string }
    ? ValueOf<Definitions[Name]>
    : ValueOf<Definitions[Name]> | undefined;
};

/** Converts definitions for citty, which supports only strings and booleans. */
export function toCittyArgs(definitions: ArgDefinitions): ArgsDef {
  return Object.fromEntries(Object.entries(definitions).map(([name, one]) => [name, toCittyArg(one)]));
}

function toCittyArg(definition: Flag | Positional): ArgDef {
  if (definition.type === "boolean") return { ...definition };
  const defaultValue = definition.default === undefined ? {} : { default: definition.default };
  return definition.type === "positional"
    ? { type: "positional", required: false, ...defaultValue }
    : { type: "string", ...defaultValue, ...("alias" in definition ? { alias: definition.alias } : {}) };
}

/**
 * Checks and converts the arguments that the user typed.
 *
 * @param parsed by name, as citty returns it
 * @throws {ScriptError} `USAGE` (exit 2) with the flag, the value it accepts and the one it got
 */
export function convertArgs<Definitions extends ArgDefinitions>(
  parsed: Readonly<Record<string, unknown>>,
  definitions: Definitions,
): ArgValues<Definitions> {
  const values = Object.entries(definitions).map(([name, definition]) => {
    const given = parsed[name];
    if (definition.type === "boolean") return [name, (given ?? definition.default) === true];
    return [name, given === undefined ? undefined : convertArg(`--${name}`, definition, String(given))];
  });
  return Object.fromEntries(values) as ArgValues<Definitions>;
}

function convertArg(flag: string, definition: Exclude<Flag | Positional, SwitchFlag>, text: string): string | number {
  switch (definition.type) {
    case "number":
      return convertNumber(flag, definition, text);
    case "duration":
      return convertDuration(flag, text);
    case "choice":
      if (definition.options.includes(text)) return text;
      return refuse(flag, definition.options.join(" or "), text);
    default:
      return text;
  }
}

/** JavaScript timers cannot run longer. */
const maxMs = 2 ** 31 - 1;

function convertDuration(flag: string, text: string): number {
  const value = parseDuration(text);
  if (value !== undefined && value <= maxMs) return value;
  return refuse(flag, `${durationForm}, at most 24d`, text);
}

function convertNumber(flag: string, { min, max }: NumberFlag, text: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= (max ?? Number.MAX_SAFE_INTEGER)) return value;
  return refuse(flag, `a whole number from ${min}${max === undefined ? "" : ` to ${max}`}`, text);
}

function refuse(flag: string, wanted: string, text: string): never {
  throw usageError(`${flag} must be ${wanted}, not ${JSON.stringify(text)}`);
}
