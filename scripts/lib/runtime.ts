import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { parseDotEnv } from "./dot-env.ts";

/** The environment as a record; an absent variable is undefined. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The standard streams, and the colours that the environment requests. */
export interface Terminal {
  readonly isStdinTerminal: boolean;
  readonly isStdoutTerminal: boolean;
  readonly isStderrTerminal: boolean;
  readonly isCi: boolean;
  /** What NO_COLOR or FORCE_COLOR requests; undefined if neither is set. */
  readonly colors: boolean | undefined;
}

/**
 * The environment that this process was started with.
 *
 * Bun adds the `.env` of the working folder to `process.env` and expands `$` in it, and afterwards nothing tells the
 * two apart. `bunfig.toml` disables that only inside the project. On Linux, the kernel still has the original.
 */
export function environment(): Environment {
  if (!isBun() || process.platform !== "linux") return process.env;
  const original = originalVariables();
  return original === undefined ? process.env : Object.fromEntries(original);
}

/**
 * `process.env` as the program sees and changes it, without what Bun has added from the `.env` files of the working
 * folder: other runtimes do not read these, and Bun may have expanded a `$`. The project's `.env` is read later.
 */
export function programEnvironment(): Environment {
  const original = environment();
  if (original === process.env) return process.env;
  const added = Object.entries(dotEnvVariables()).flatMap(([name, literal]) =>
    original[name] === undefined && isAddedByBun(name, literal) ? [name] : [],
  );
  return { ...process.env, ...Object.fromEntries(added.map((name) => [name, undefined])) };
}

/** What the files contain that Bun reads by itself. */
function dotEnvVariables(): Record<string, string> {
  const mode = process.env["NODE_ENV"] || "development";
  const files = [".env", `.env.${mode}`, ".env.local", `.env.${mode}.local`];
  return Object.assign({}, ...files.map((file) => parseDotEnv(readIfPossible(file))));
}

/** The settings' reader reports the project's `.env` if it cannot be read. */
function readIfPossible(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** Whether a variable has the value of a file, and not one that the program has set. */
function isAddedByBun(name: string, literal: string): boolean {
  const value = process.env[name];
  return value === literal || (/[$#\\'"`]/.test(literal) && value === variablesAtStart[name]);
}

/** Bun's values of variables that it may not read as they are written. */
const variablesAtStart: Environment = isBun() ? { ...process.env } : {};

function originalVariables(): Map<string, string> | undefined {
  try {
    const words = readFileSync("/proc/self/environ", "utf8").split("\0").filter(Boolean);
    return new Map(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
  } catch {
    return undefined;
  }
}

/** Names of the variables that child processes inherit, including those that Bun added. */
export function variableNames(): string[] {
  return Object.keys(process.env);
}

/** Whether this process runs on Bun. */
export function isBun(): boolean {
  return "Bun" in globalThis;
}

/** Whether this process runs on Deno. */
export function isDeno(): boolean {
  return "Deno" in globalThis;
}

/** Reads the standard streams and the variables that control colours. */
export function terminal(): Terminal {
  const { NO_COLOR, FORCE_COLOR, CI, TERM } = environment();
  return {
    isStdinTerminal: process.stdin.isTTY === true,
    isStdoutTerminal: process.stdout.isTTY === true && TERM !== "dumb",
    isStderrTerminal: process.stderr.isTTY === true && TERM !== "dumb",
    isCi: isSet(CI) && CI !== "false",
    colors: isSet(NO_COLOR) ? false : isSet(FORCE_COLOR) ? FORCE_COLOR !== "0" : undefined,
  };
}

/** Whether `bun` is on the PATH. A copy from npx or a package does not count: it is gone after the command. */
export function isBunInstalled(): boolean {
  const folders = (environment()["PATH"] ?? "").split(delimiter);
  return folders.some((folder) => !/node_modules|bun-node-/.test(folder) && existsSync(join(folder, "bun")));
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "";
}
