import type { ArgDef, ArgsDef } from "citty";
import { exitCodes, ScriptError } from "./script-error.ts";

/** Flags that every script has. */
export const sharedFlags = {
  json: { type: "boolean", description: "Print one JSON object on stdout" },
  quiet: { type: "boolean", description: "Print results, warnings and errors only" },
  verbose: { type: "boolean", description: "Print what is normally left out" },
  color: { type: "boolean", description: "Colour the output", negativeDescription: "Never colour the output" },
  yes: { type: "boolean", alias: "y", description: "Answer every question with yes" },
  help: { type: "boolean", alias: "h", description: "Print this help" },
  version: { type: "boolean", description: "Print the version" },
} as const satisfies ArgsDef;

/** Flags that choose the stack; each stands before its environment variable (see `config.ts`). */
export const stackFlags = {
  mode: { type: "string", valueHint: "embedded|compose|external", description: "Where PostgreSQL runs (CQRS_MODE)" },
  port: { type: "string", valueHint: "number", description: "Port of the server (POSTGRES_PORT)" },
  database: { type: "string", valueHint: "name", description: "Name of the database (POSTGRES_DB)" },
  user: { type: "string", valueHint: "name", description: "The application's login (POSTGRES_USER)" },
  timeout: { type: "string", valueHint: "duration", description: "How long to wait, e.g. 60s (CQRS_TIMEOUT)" },
  secrets: { type: "string", valueHint: "file|vault", description: "Where secrets are kept (CQRS_SECRETS)" },
} as const satisfies ArgsDef;

/**
 * Refuses what citty would accept silently: unknown flags, missing values, superfluous positionals.
 *
 * @param rawArgs the words of the command line after the command's name
 * @param definitions the command's own and the shared flags
 * @throws {ScriptError} `USAGE` (exit 2), with the nearest flag
 */
export async function checkArguments(rawArgs: readonly string[], definitions: ArgsDef): Promise<void> {
  const positionals = countPositionals(Object.values(definitions));
  const end = rawArgs.indexOf("--");
  let seen = 0;
  for (let index = 0; index < rawArgs.length; index++) {
    const word = rawArgs[index] as string;
    if (index === end) continue;
    if (!word.startsWith("-") || word === "-" || (end >= 0 && index > end)) {
      if (++seen > positionals) throw usageError(`Unexpected argument ${JSON.stringify(word)}`, undefined);
      continue;
    }
    if (await takesNextWord(word, rawArgs[index + 1], definitions)) index++;
  }
}

/** A positional whose hint ends with an ellipsis stands for any number of words. */
function countPositionals(definitions: readonly ArgDef[]): number {
  const positionals = definitions.filter(({ type }) => type === "positional");
  return positionals.some(({ valueHint }) => valueHint?.endsWith("…")) ? Number.POSITIVE_INFINITY : positionals.length;
}

async function takesNextWord(word: string, next: string | undefined, definitions: ArgsDef): Promise<boolean> {
  const [flag = word, value] = splitOnce(word, "=");
  const definition = findFlag(flag, definitions);
  if (definition === undefined) throw await unknownFlag(flag, definitions);
  if (definition.type === "boolean") {
    if (value === undefined) return false;
    throw usageError(`${flag} is a switch and takes no value`, `Write ${flag} or leave it out.`);
  }
  if (value !== undefined) return false;
  if (next === undefined || (next.startsWith("-") && next !== "-")) {
    throw usageError(`${flag} needs a value`, `Write ${flag}=<value>.`);
  }
  return true;
}

function findFlag(flag: string, definitions: ArgsDef): ArgDef | undefined {
  for (const [name, definition] of Object.entries(definitions)) {
    if (definition.type === "positional") continue;
    const isNegated = name === "color" && flag === "--no-color";
    if (flag === `--${name}` || isNegated || shortFlags(definition).includes(flag)) return definition;
  }
  return undefined;
}

function shortFlags(definition: ArgDef): string[] {
  const alias = "alias" in definition ? (definition.alias ?? []) : [];
  return (Array.isArray(alias) ? alias : [alias]).map((letter) => `-${letter}`);
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

async function unknownFlag(flag: string, definitions: ArgsDef): Promise<ScriptError> {
  const flags = Object.entries(definitions)
    .filter(([, definition]) => definition.type !== "positional")
    .flatMap(([name, definition]) =>
      "negativeDescription" in definition ? [`--${name}`, `--no-${name}`] : [`--${name}`],
    );
  return usageError(`Unknown flag ${flag}`, await didYouMean(flag, flags));
}

/** @returns a sentence that names the candidate nearest to `word` */
export async function didYouMean(word: string, candidates: readonly string[]): Promise<string> {
  const { closest } = await import("fastest-levenshtein");
  return `Did you mean ${closest(word, [...candidates])}? See --help.`;
}

/** @returns the error of a command line that can't be understood (exit 2) */
export function usageError(message: string, fix: string | undefined): ScriptError {
  return new ScriptError({ code: "USAGE", exitCode: exitCodes.usage, message, fix: fix ?? "See --help." });
}
