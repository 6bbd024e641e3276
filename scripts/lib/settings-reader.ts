import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as v from "valibot";
import { exitCodes, ScriptError } from "./cli/script-error.ts";
import { findStrayLines, parseDotEnv } from "./dot-env.ts";
import type { Environment } from "./runtime.ts";

/** Where to read settings from, besides the flags. */
export interface SettingsSources {
  readonly environment: Environment;
  /** Path of the `.env` file, which need not exist; null reads none. */
  readonly dotEnvFile: string | null;
  /** Where relative paths in settings start. */
  readonly projectDir: string;
}

/** What the names of our settings begin with. Those of libpq may be meant for other programs. */
const ownPrefix = /^(CQRS|POSTGRES|VAULT|BAO)_/;
/** What only our names begin with: the application may have settings of its own for PostgreSQL and Vault in `.env`. */
const reservedPrefix = "CQRS_";

/** A text that was found, and what to blame if it is invalid. */
interface Found {
  readonly text: string;
  /** A flag with its value, or the name of a variable: its value may be a secret. */
  readonly source: string;
}

/** Reads settings one by one and collects their problems. */
export class SettingsReader {
  readonly #flags: Readonly<Record<string, string | undefined>>;
  readonly #environment: Environment;
  readonly #dotEnv: Environment;
  readonly #projectDir: string;
  readonly #strayLines: readonly number[];
  readonly problems: string[] = [];

  constructor(flags: Readonly<Record<string, string | undefined>>, sources: SettingsSources) {
    this.#flags = flags;
    this.#environment = sources.environment;
    const dotEnv = sources.dotEnvFile === null ? "" : readDotEnv(sources.dotEnvFile);
    this.#dotEnv = parseDotEnv(dotEnv);
    this.#strayLines = findStrayLines(dotEnv);
    this.#projectDir = sources.projectDir;
  }

  /** @returns the checked value; undefined if no source has it or it is invalid */
  setting<Schema extends v.GenericSchema<string, unknown>>(
    variable: string,
    schema: Schema,
    flag?: string,
  ): v.InferOutput<Schema> | undefined {
    const found = this.#fromFlag(flag) ?? this.#fromEnvironment(variable) ?? this.#fromDotEnv(variable);
    return found === undefined ? undefined : this.check(found.source, found.text, schema);
  }

  /**
   * Finds what is ignored in `.env`, and probably by mistake. Shows no line, which may contain a secret.
   *
   * @param known the names of all settings
   * @returns one phrase each
   */
  findIgnored(known: readonly string[]): string[] {
    const isKnown = (name: string) => known.includes(name) || known.includes(name.replace(/_FILE$/, ""));
    const isMeant = (name: string) => name.startsWith(reservedPrefix) || known.some((one) => isTypo(name, one));
    const named = Object.keys(this.#dotEnv).filter((name) => ownPrefix.test(name));
    const unknown = named.filter((name) => !isKnown(name) && isMeant(name));
    return [
      ...this.#strayLines.map((line) => `line ${line} of .env is ignored: it is no assignment such as X=value`),
      ...unknown.map((name) => `${name} in .env is ignored: no setting of .env has that name`),
    ];
  }

  /** @returns the absolute path of the file that a setting is read from, if any */
  fileOf(variable: string): string | undefined {
    const file = this.#environment[`${variable}_FILE`] || this.#dotEnv[`${variable}_FILE`];
    return file ? this.pathOf(file) : undefined;
  }

  /** @returns the absolute path of a file that a setting names */
  pathOf(file: string): string {
    return resolve(this.#projectDir, file);
  }

  /**
   * Checks a value that was read elsewhere.
   *
   * @param source what to blame
   */
  check<Schema extends v.GenericSchema<string, unknown>>(
    source: string,
    text: string | undefined,
    schema: Schema,
  ): v.InferOutput<Schema> | undefined {
    if (text === undefined) return undefined;
    const checked = v.safeParse(schema, text);
    if (checked.success) return checked.output;
    this.problems.push(`${source} ${checked.issues[0].message}`);
    return undefined;
  }

  #fromFlag(flag: string | undefined): Found | undefined {
    const text = flag === undefined ? undefined : this.#flags[flag];
    return text === undefined ? undefined : { text, source: `--${flag} ${JSON.stringify(text)}` };
  }

  #fromEnvironment(variable: string): Found | undefined {
    const text = this.#read(this.#environment, variable);
    return text === undefined ? undefined : { text, source: variable };
  }

  #fromDotEnv(variable: string): Found | undefined {
    const text = this.#read(this.#dotEnv, variable);
    return text === undefined ? undefined : { text, source: `${variable} in .env` };
  }

  /** An empty variable counts as absent, because compose passes unset variables as empty ones. */
  #read(source: Environment, variable: string): string | undefined {
    const value = source[variable] || undefined;
    const file = source[`${variable}_FILE`] || undefined;
    if (value !== undefined && file !== undefined) {
      this.problems.push(`${variable} and ${variable}_FILE are both set; set only one of them`);
      return undefined;
    }
    return file === undefined ? value : this.#readFile(`${variable}_FILE`, file);
  }

  #readFile(variable: string, file: string): string | undefined {
    try {
      const content = readFileSync(this.pathOf(file), "utf8").replace(/\r?\n$/, "");
      if (content !== "") return content;
      this.problems.push(`${variable} points to an empty file: ${file}`);
    } catch (error) {
      this.problems.push(`${variable} points to a file that cannot be read: ${file} (${errorCode(error)})`);
    }
    return undefined;
  }
}

/** @returns "" if there is no such file */
function readDotEnv(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw new ScriptError({
      code: "CONFIGURATION",
      exitCode: exitCodes.usage,
      message: `Cannot read ${file} (${errorCode(error)})`,
      fix: "Make it readable by this user, or remove it.",
    });
  }
}

function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

/** Whether a letter is missing, additional or another one, or two neighbours are swapped. */
function isTypo(name: string, known: string): boolean {
  const differs = [...name].findIndex((letter, index) => letter !== known[index]);
  const [start, wanted] = differs < 0 ? ["", known.slice(name.length)] : [name.slice(differs), known.slice(differs)];
  return (
    start.slice(1) === wanted ||
    start === wanted.slice(1) ||
    start.slice(1) === wanted.slice(1) ||
    (start.slice(0, 2) === `${wanted[1]}${wanted[0]}` && start.slice(2) === wanted.slice(2))
  );
}
