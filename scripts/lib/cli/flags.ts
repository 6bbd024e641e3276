import type { ArgDefinitions, Flag, Positional } from "./args.ts";
import { usageError } from "./errors.ts";
import type { ScriptError } from "./script-error.ts";
import { didYouMean } from "./suggestion.ts";

/** Flags that every script accepts. */
export const sharedFlags = {
  project: { type: "string", valueHint: "folder", description: "Folder of the project", setting: "CQRS_PROJECT_DIR" },
  json: { type: "boolean", description: "Print one JSON object to stdout" },
  quiet: { type: "boolean", description: "Print only results, warnings and errors" },
  verbose: { type: "boolean", description: "Print more details" },
  color: { type: "boolean", description: "Always use colours", negativeDescription: "Never use colours" },
  yes: { type: "boolean", alias: "y", description: "Answer every question with yes" },
  help: { type: "boolean", alias: "h", description: "Print this help" },
  version: { type: "boolean", description: "Print the version" },
} as const satisfies ArgDefinitions;

/** For commands that ask before they re-point applications. */
export const yesFlag = { type: "boolean", alias: "y", description: "Answer every question with yes" } as const;

/** Flags that override a setting. `config.ts` reads and checks them together with the other sources. */
export const stackFlags = {
  mode: {
    type: "string",
    valueHint: "embedded|compose|external",
    description: "Where PostgreSQL runs",
    setting: "CQRS_MODE",
  },
  port: { type: "string", valueHint: "number", description: "Port of the server", setting: "POSTGRES_PORT" },
  database: { type: "string", valueHint: "name", description: "Name of the database", setting: "POSTGRES_DB" },
  user: { type: "string", valueHint: "name", description: "The application's login", setting: "POSTGRES_USER" },
  timeout: {
    type: "string",
    valueHint: "duration",
    description: "Time limit for each wait, such as 60s",
    setting: "CQRS_TIMEOUT",
  },
  secrets: { type: "string", valueHint: "file|vault", description: "Where secrets are kept", setting: "CQRS_SECRETS" },
  dir: {
    type: "string",
    valueHint: "folder",
    description: "Folder of the project's SQL files",
    setting: "CQRS_SQL_DIR",
  },
  grace: {
    type: "string",
    valueHint: "duration",
    description: "How long the old credentials remain valid, such as 2h",
    setting: "CQRS_GRACE",
  },
} as const satisfies ArgDefinitions;

/** The words of a command line, and what they may be. */
export interface CommandLine {
  /** The words after the command's name. */
  readonly words: readonly string[];
  /** The command's own and the shared flags. */
  readonly definitions: ArgDefinitions;
  /** Full names of commands that an unexpected word may stand for. */
  readonly commands?: readonly string[];
}

/**
 * Rejects what citty would accept silently: unknown flags, missing values, extra words.
 *
 * @throws {ScriptError} `USAGE` (exit 2), with the nearest flag or command if one is close
 */
export async function checkArguments({ words, definitions, commands = [] }: CommandLine): Promise<void> {
  const maxPositionals = countPositionals(Object.values(definitions));
  const end = words.indexOf("--");
  let seen = 0;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as string;
    if (index === end) continue;
    if (!word.startsWith("-") || word === "-" || (end >= 0 && index > end)) {
      if (++seen > maxPositionals)
        throw usageError(`Unexpected argument ${JSON.stringify(word)}`, await didYouMean(word, commands));
      continue;
    }
    if (await takesNextWord(word, words[index + 1], definitions)) index++;
  }
  if (words.includes("--color") && words.includes("--no-color"))
    throw usageError("--color and --no-color cannot be combined");
}

function countPositionals(definitions: readonly (Flag | Positional)[]): number {
  const positionals = definitions.filter((definition) => definition.type === "positional");
  return positionals.some(({ valueHint }) => valueHint?.endsWith("…")) ? Number.POSITIVE_INFINITY : positionals.length;
}

async function takesNextWord(word: string, next: string | undefined, definitions: ArgDefinitions): Promise<boolean> {
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

function findFlag(flag: string, definitions: ArgDefinitions): Flag | undefined {
  for (const [name, definition] of Object.entries(definitions)) {
    if (definition.type !== "positional" && spellings(name, definition).includes(flag)) return definition;
  }
  return undefined;
}

/** Every way to write a flag: `--color` and `--no-color`, `--yes` and `-y`. */
export function spellings(name: string, definition: Flag): string[] {
  const alias = "alias" in definition ? definition.alias : undefined;
  const short = alias === undefined ? [] : [`-${alias}`];
  if (definition.type !== "boolean") return [...short, `--${name}`];
  return [...short, `--${name}`, ...(definition.negativeDescription === undefined ? [] : [`--no-${name}`])];
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

async function unknownFlag(flag: string, definitions: ArgDefinitions): Promise<ScriptError> {
  const flags = Object.entries(definitions).flatMap(([name, definition]) =>
    definition.type === "positional" ? [] : spellings(name, definition),
  );
  return usageError(`Unknown flag ${flag}`, await didYouMean(flag, flags));
}

/**
 * Finds the first word that belongs to no flag.
 *
 * @returns its index, or -1
 */
export function firstOperand(words: readonly string[], definitions: ArgDefinitions): number {
  for (let index = 0; index < words.length && words[index] !== "--"; index++) {
    const word = words[index] as string;
    if (!word.startsWith("-")) return index;
    const definition = findFlag(word, definitions);
    if (definition !== undefined && definition.type !== "boolean") index++;
  }
  return -1;
}
