import { join, resolve } from "node:path";
import * as v from "valibot";
import { exitCodes, ScriptError } from "./cli/script-error.ts";
import { durationForm, parseDuration } from "./duration.ts";
import { maxLoginBytes, maxNameBytes } from "./login-names.ts";
import { findProject } from "./project.ts";
import { type Environment, environment } from "./runtime.ts";
import type { TlsSettings } from "./server-url.ts";
import { SettingsReader, type SettingsSources } from "./settings-reader.ts";
import { systemAuthorities, type TlsMode, tlsModes } from "./tls-mode.ts";

/** Where PostgreSQL runs. */
export type Mode = "embedded" | "compose" | "external";

/** A server as `DATABASE_URL` or the PG* variables describe it. */
export interface ExternalServer {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string | undefined;
  readonly tls: TlsMode;
  readonly tlsRootCert?: string;
}

/** Where secrets are kept. */
export type SecretsKind = "file" | "vault";

/** Where a Vault is and how to log in to it. */
export interface VaultSettings {
  readonly address: string;
  readonly token: string | undefined;
  /** The file that the token was read from; the token in it may have been renewed since. */
  readonly tokenFile: string | undefined;
  readonly namespace: string | undefined;
  readonly caCertFile: string | undefined;
  /** An AppRole, as an alternative to a token. */
  readonly roleId: string | undefined;
  readonly secretId: string | undefined;
  readonly secretIdFile: string | undefined;
}

/** Everything that can be configured, read once and checked. */
export interface Config {
  /** Undefined: the mode that the stack remembers, or else `embedded`. */
  readonly mode: Mode | undefined;
  /** Absolute path of the project's folder. */
  readonly projectDir: string;
  /** Absolute path of the folder that everything is written to. */
  readonly stackDir: string;
  /** Absolute path of the folder of the project's own migrations, routines and seeds. */
  readonly sqlDir: string;
  /** Undefined: the stack's own port. */
  readonly port: number | undefined;
  /** The port on this host, for programs outside the server's network. Undefined: the server's own. */
  readonly localPort: number | undefined;
  /** Which of the application's secrets to read: with the address for the server's network, or for this host. */
  readonly applicationSecret: "database" | "database-local";
  /** Undefined: the name that the stack remembers, or else `cqrs_db`. */
  readonly database: string | undefined;
  /** The application's login. Undefined: the one that the stack remembers, or else `cqrs_user`. */
  readonly user: string | undefined;
  /** Undefined: the one in the secret store, or else a generated one. */
  readonly password: string | undefined;
  /** The time limit of each wait, in milliseconds. */
  readonly timeoutMs: number;
  /** How long a login stays valid after it was replaced, in milliseconds. */
  readonly graceMs: number;
  readonly externalServer: ExternalServer | undefined;
  /** The TLS settings for an external server, even if no server is configured. */
  readonly externalTls: TlsSettings;
  /** Undefined: Vault if VAULT_ADDR is set, or else the place that the stack remembers, or else files. */
  readonly secrets: SecretsKind | undefined;
  readonly vault: VaultSettings | undefined;
  /** Problems with variables that embedded mode does not use and that may belong to other projects. */
  readonly externalServerProblems: readonly string[];
  /** What is ignored, and probably by mistake. */
  readonly warnings: readonly string[];
}

/** Values of flags, which override every other source. */
export interface ConfigFlags {
  readonly project?: string | undefined;
  readonly mode?: string | undefined;
  readonly port?: string | undefined;
  readonly database?: string | undefined;
  readonly user?: string | undefined;
  readonly timeout?: string | undefined;
  readonly secrets?: string | undefined;
  readonly grace?: string | undefined;
  readonly dir?: string | undefined;
}

/** Sources that take the place of the usual ones. */
type GivenSources = Partial<Omit<SettingsSources, "projectDir">>;

/** The settings that `.env` can have, of those whose names begin with a prefix of ours. */
const settingsOfDotEnv = [
  ...["MODE", "STACK_DIR", "SQL_DIR", "TIMEOUT", "GRACE", "SECRETS", "SECRET", "LOCAL_PORT", "ADMIN_URL"].map(
    (name) => `CQRS_${name}`,
  ),
  ...["PORT", "DB", "USER", "PASSWORD"].map((name) => `POSTGRES_${name}`),
  ...["ADDR", "TOKEN", "ROLE_ID", "SECRET_ID", "NAMESPACE", "CACERT"].map((name) => `VAULT_${name}`),
  ...["ADDR", "TOKEN", "NAMESPACE", "CACERT"].map((name) => `BAO_${name}`),
  // These are read by docker compose and by Spring.
  ...["POSTGRES_IMAGE", "POSTGRES_MEMORY", "VAULT_PORT", "VAULT_IMAGE", "VAULT_MEMORY", "CQRS_UID", "CQRS_GID"],
  "VAULT_AUTHENTICATION",
];

const reservedRoles = ["postgres", "cqrs_owner", "cqrs_app", "cqrs_vault", "public", "none"];
/** Databases that every server has; none of them can be the application's. */
export const reservedDatabases: readonly string[] = ["postgres", "template0", "template1"];

const port = v.pipe(
  v.string(),
  v.regex(/^\d{1,5}$/, "must be a number from 1 to 65535"),
  v.transform(Number),
  v.minValue(1, "must be a number from 1 to 65535"),
  v.maxValue(65_535, "must be a number from 1 to 65535"),
);
const identifier = v.pipe(
  v.string(),
  v.nonEmpty("must not be empty"),
  v.check((name) => Buffer.byteLength(name) <= maxNameBytes, `must have at most ${maxNameBytes} bytes`),
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  v.regex(/^[^\u0000-\u001f\u007f]*$/, "must not contain control characters"),
);
const database = v.pipe(
  identifier,
  v.check((name) => !reservedDatabases.includes(name), `must not be one of ${reservedDatabases.join(", ")}`),
);
const login = v.pipe(
  identifier,
  v.check((name) => Buffer.byteLength(name) <= maxLoginBytes, `must have at most ${maxLoginBytes} bytes`),
  v.check(
    (name) => !reservedRoles.includes(name) && !name.startsWith("pg_"),
    `must not be a reserved role: ${reservedRoles.join(", ")} or pg_*`,
  ),
);
const password = v.pipe(
  v.string(),
  v.regex(/^[\u0020-\u007e]+$/, "must consist of printable ASCII characters, because clients hash others differently"),
);
/** Timers of JavaScript cannot run longer than 24 days. */
const timeout = durationUpTo("24d");
const grace = durationUpTo("365d");
const mode = v.picklist(["embedded", "compose", "external"], "must be embedded, compose or external");
const applicationSecret = v.picklist(["database", "database-local"], "must be database or database-local");
const secretsKind = v.picklist(["file", "vault"], "must be file or vault");
const tlsMode = v.picklist(tlsModes, "must be disable, allow, prefer, require, verify-ca or verify-full");
const httpUrl = v.pipe(
  v.string(),
  v.check((text) => /^https?:$/.test(parseUrl(text)?.protocol ?? ""), "must be an http:// or https:// URL"),
);
const postgresUrl = v.pipe(
  v.string(),
  v.check(
    (text) => /^postgres(ql)?:$/.test(parseUrl(text)?.protocol ?? "") && isDecodable(text),
    "must be a URL such as postgres://user:password@host:5432/database, special characters percent-encoded",
  ),
);
const text = v.string();

/**
 * Reads the configuration. Flags override the environment, which overrides the project's `.env`, which overrides the
 * defaults. For every variable `X`, `X_FILE` can be the path of a file that contains the value.
 *
 * @throws {ScriptError} `CONFIGURATION` (exit 2) with all problems, each with the flag or variable to blame;
 * `NO_PROJECT` (exit 2)
 */
export function loadConfig({ project: named, ...flags }: ConfigFlags = {}, given: GivenSources = {}): Config {
  const project = findProject(named, given.environment ?? environment());
  const sources = { environment: environment(), dotEnvFile: join(project.projectDir, ".env"), ...given, ...project };
  const read = new SettingsReader(flags, sources);
  const external = new SettingsReader(flags, sources);
  const config = {
    projectDir: project.projectDir,
    mode: read.setting("CQRS_MODE", mode, "mode"),
    stackDir: resolve(project.projectDir, read.setting("CQRS_STACK_DIR", text) ?? project.stackDir),
    port: read.setting("POSTGRES_PORT", port, "port"),
    localPort: read.setting("CQRS_LOCAL_PORT", port),
    applicationSecret: read.setting("CQRS_SECRET", applicationSecret) ?? "database-local",
    sqlDir: resolve(project.projectDir, read.setting("CQRS_SQL_DIR", text, "dir") ?? project.sqlDir),
    database: read.setting("POSTGRES_DB", database, "database"),
    user: read.setting("POSTGRES_USER", login, "user"),
    password: read.setting("POSTGRES_PASSWORD", password),
    timeoutMs: read.setting("CQRS_TIMEOUT", timeout, "timeout") ?? 60_000,
    graceMs: read.setting("CQRS_GRACE", grace, "grace") ?? 60 * 60_000,
    ...readExternalServer(external),
    secrets: read.setting("CQRS_SECRETS", secretsKind, "secrets"),
    vault: readVault(read),
  };
  const problems = [...read.problems, ...(config.mode === "external" ? external.problems : [])];
  if (problems.length > 0) throw wrongSettings(problems);
  return { ...config, externalServerProblems: external.problems, warnings: read.findIgnored(settingsOfDotEnv) };
}

/** @returns what is wrong with the name of a database; undefined if the name can be used */
export function findNameProblem(name: string): string | undefined {
  return v.safeParse(database, name).issues?.[0].message;
}

/**
 * Parses the URL of a server like DATABASE_URL. The PG* variables supply what it leaves out.
 *
 * @param variables none by default, so that only the URL counts
 * @throws {ScriptError} `CONFIGURATION` (exit 2)
 */
export function parseServerUrl(url: string, variables: Environment = {}): ExternalServer {
  const others = { DATABASE_URL_FILE: undefined, CQRS_ADMIN_URL: undefined, CQRS_ADMIN_URL_FILE: undefined };
  const environment = { ...variables, ...others, DATABASE_URL: url };
  const read = new SettingsReader({}, { environment, dotEnvFile: null, projectDir: "" });
  const { externalServer: server } = readExternalServer(read);
  const problems = read.problems.map((problem) => problem.replace("DATABASE_URL", "It"));
  if (server === undefined || problems.length > 0) throw unusableUrl(problems.join("\n"));
  return server;
}

/** @returns the error of a server's URL that cannot be used (exit 2) */
export function unusableUrl(why: string): ScriptError {
  return new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: "The URL of the server cannot be used",
    why,
    fix: "Pass postgres://user:password@host:port/database, with each part percent-encoded.",
  });
}

/** @returns the error for invalid settings (exit 2), with one line per problem */
export function wrongSettings(problems: readonly string[]): ScriptError {
  return new ScriptError({
    code: "CONFIGURATION",
    exitCode: exitCodes.usage,
    message: problems.length === 1 ? "A setting is invalid" : `${problems.length} settings are invalid`,
    why: problems.join("\n"),
    fix: "Fix the flag, the variable, or the project's .env file. .env.example lists all variables.",
  });
}

function readExternalServer(read: SettingsReader): Pick<Config, "externalServer" | "externalTls"> {
  const administratorUrl = read.setting("CQRS_ADMIN_URL", postgresUrl);
  const databaseUrl = administratorUrl ?? read.setting("DATABASE_URL", postgresUrl);
  const url = databaseUrl === undefined ? undefined : new URL(databaseUrl);
  const externalTls = readTls(read, url);
  const host = read.setting("PGHOST", text);
  const server = {
    user: read.setting("PGUSER", text),
    port: read.setting("PGPORT", port),
    password: read.setting("PGPASSWORD", text),
    database: read.setting("PGDATABASE", identifier),
  };
  if (url === undefined && host === undefined) return { externalServer: undefined, externalTls };
  // Next to CQRS_ADMIN_URL, the PG* variables are those of the application.
  if (url !== undefined && administratorUrl !== undefined)
    return { externalServer: serverOf(url, externalTls), externalTls };
  return { externalServer: serverOf(url, externalTls, { ...server, host }), externalTls };
}

type ServerDefaults = Partial<Record<"host" | "user" | "password" | "database", string | undefined>> & {
  readonly port?: number | undefined;
};

/** @param defaults for the parts that the URL leaves out */
function serverOf(url: URL | undefined, tls: TlsSettings, defaults: ServerDefaults = {}): ExternalServer {
  return {
    host: decodeURIComponent(url?.hostname ?? "").replace(/^\[|\]$/g, "") || (defaults.host ?? "localhost"),
    port: Number(url?.port) || (defaults.port ?? 5432),
    user: decodeURIComponent(url?.username ?? "") || (defaults.user ?? "postgres"),
    password: decodeURIComponent(url?.password ?? "") || defaults.password,
    database: decodeURIComponent(url?.pathname.slice(1) ?? "") || defaults.database,
    tls: "prefer",
    ...tls,
  };
}

/** Like libpq, reads `ssl=true` of JDBC's URLs as `sslmode=require`. */
function readTls(read: SettingsReader, url: URL | undefined): TlsSettings {
  const parameters = url?.searchParams;
  const urlMode = parameters?.get("sslmode") ?? (parameters?.get("ssl") === "true" ? "require" : undefined);
  const mode = read.check("DATABASE_URL (sslmode)", urlMode, tlsMode) ?? read.setting("PGSSLMODE", tlsMode);
  const rootCert = parameters?.get("sslrootcert") || read.setting("PGSSLROOTCERT", text);
  return {
    ...(mode === undefined ? {} : { tls: mode }),
    ...(rootCert === undefined
      ? {}
      : { tlsRootCert: rootCert === systemAuthorities ? rootCert : read.pathOf(rootCert) }),
  };
}

/** OpenBao's clients use other names for the same settings. */
function readVault(read: SettingsReader): VaultSettings | undefined {
  const address = read.setting("VAULT_ADDR", httpUrl) ?? read.setting("BAO_ADDR", httpUrl);
  if (address === undefined) return undefined;
  const settings = {
    address,
    token: read.setting("VAULT_TOKEN", text) ?? read.setting("BAO_TOKEN", text),
    tokenFile: read.fileOf("VAULT_TOKEN") ?? read.fileOf("BAO_TOKEN"),
    namespace: read.setting("VAULT_NAMESPACE", text) ?? read.setting("BAO_NAMESPACE", text),
    caCertFile: read.setting("VAULT_CACERT", text) ?? read.setting("BAO_CACERT", text),
    roleId: read.setting("VAULT_ROLE_ID", text),
    secretId: read.setting("VAULT_SECRET_ID", text),
    secretIdFile: read.fileOf("VAULT_SECRET_ID"),
  };
  if ((settings.roleId === undefined) !== (settings.secretId === undefined)) {
    read.problems.push("VAULT_ROLE_ID and VAULT_SECRET_ID must be set together; only one of them is set");
  }
  return settings;
}

function durationUpTo(longest: string) {
  return v.pipe(
    v.string(),
    v.check((text) => parseDuration(text) !== undefined, `must be ${durationForm}`),
    v.transform((text) => parseDuration(text) as number),
    v.maxValue(parseDuration(longest) as number, `must be at most ${longest}`),
  );
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
